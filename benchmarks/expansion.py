"""What indexing keywords beside the text brings to BM25, to vectors, to both fused, and to both reranked.

    python benchmarks/expansion.py --data DIR

Indexes `DIR/juristcu` (or `DIR`, if it is that collection) in several ways, each of which is one string a document:
one BM25 field, one vector. Asks the dev questions of the whole collection. Keywords come from GPT-4o (`keywords.jsonl`
there) and from `OfflineGenerator`.
"hybrid" fuses 500 hits of each arm ("relative"). "+ rerank" orders those 500 by the score of their ORIGINAL text, as
limiar's rerankers do. "mixed" fuses that score with the hybrid's, half and half, which no part of limiar does.

Two controls say what is not the keywords' doing: the text twice, and another document's keywords. Differences from the
plain text are paired, with 95 % bootstrap intervals. More than half of a top ten is unjudged there: the figures compare
ways of indexing with each other and nothing else. Some 20 minutes on 2 busy cores.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table

from limiar import Arm, BM25Index, IndexDocument, LateInteractionScorer, fuse
from limiar.embeddings.bundled import shared_encoder
from limiar.evaluation.dataset import Collection, load_collection
from limiar.evaluation.metrics import bootstrap_interval, ndcg
from limiar.keywords.offline import OfflineGenerator

HITS = 500
COLUMNS = ("BM25", "dense", "hybrid", "+ rerank", "mixed")
FIELD_WEIGHTS = (0.25, 0.5, 0.75, 1.0)
PLAIN = "text"
GROUPS = {1: "search log", 2: "keywords", 3: "question"}

Values = npt.NDArray[np.float64]
"""nDCG@10 of each question."""


class Grid:
    """The questions of one collection, asked of it indexed in different ways."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.ids = [passage.id for passage in collection.passages]
        self.texts = [passage.full_text for passage in collection.passages]
        encoder, scorer = shared_encoder(), LateInteractionScorer(cache_mb=2000)
        self.asked = [encoder.embed_query(question.text) for question in collection.questions]
        self.reranked = [
            dict(zip(self.ids, scorer.score(question.text, self.texts), strict=True))
            for question in track(collection.questions, "reranking")
        ]

    def columns(self, indexed: Sequence[str]) -> dict[str, Values]:
        """By column, with these strings in the index."""
        vectors = shared_encoder().embed_documents(indexed)
        found: dict[str, list[list[str]]] = {column: [] for column in COLUMNS}
        with tempfile.TemporaryDirectory() as folder, BM25Index.create(Path(folder) / "index") as index:
            index.add(IndexDocument(i, {"text": text}) for i, text in zip(self.ids, indexed, strict=True))
            for question, asked, scores in zip(self.collection.questions, self.asked, self.reranked, strict=True):
                cosines = vectors @ asked
                nearest = np.argsort(-cosines, kind="stable")[:HITS]
                bm25 = Arm("bm25", [(hit.id, hit.score) for hit in index.search(question.text, HITS)])
                dense = Arm("dense", [(self.ids[place], float(cosines[place])) for place in nearest])
                hybrid = Arm("hybrid", _fused(bm25, dense))
                rerank = Arm("rerank", sorted(((i, scores[i]) for i, _ in hybrid.hits), key=lambda hit: -hit[1]))
                mixed = Arm("mixed", _fused(hybrid, rerank))
                for column, arm in zip(COLUMNS, (bm25, dense, hybrid, rerank, mixed), strict=True):
                    found[column].append([identity for identity, _ in arm.hits])
        return {column: self.ndcg(rankings) for column, rankings in found.items()}

    def two_fields(self, keywords: Sequence[str], weight: float) -> Values:
        """BM25 with the text in one field and the keywords in another."""
        fields = {"text": 1.0, "keywords": weight}
        with tempfile.TemporaryDirectory() as folder, BM25Index.create(Path(folder) / "index", fields=fields) as index:
            rows = zip(self.ids, self.texts, keywords, strict=True)
            index.add(IndexDocument(i, {"text": text, "keywords": words}) for i, text, words in rows)
            questions = self.collection.questions
            return self.ndcg([[hit.id for hit in index.search(question.text)] for question in questions])

    def ndcg(self, rankings: Sequence[Sequence[str]]) -> Values:
        """nDCG@10 of one ranking a question."""
        rows = zip(self.collection.questions, rankings, strict=True)
        return np.array([ndcg(ranking, self.collection.qrels[question.id]) for question, ranking in rows])


def _fused(first: Arm, second: Arm) -> list[tuple[str, float | None]]:
    return [(hit.id, hit.score) for hit in fuse([first, second], method="relative", limit=HITS)]


def sources(folder: Path, grid: Grid) -> dict[str, list[str]]:
    """By source, the keywords of each document as one string."""
    with (folder / "keywords.jsonl").open(encoding="utf-8") as lines:
        written = {row["_id"]: ", ".join(row["keywords"]) for row in map(json.loads, lines)}
    generated = OfflineGenerator().fit(grid.texts).generate_all(grid.texts)
    offline = [", ".join(word for term, related in row for word in (term, *related)) for row in generated]
    return {"GPT-4o": [written[identity] for identity in grid.ids], "offline": offline}


def ways(texts: Sequence[str], keywords: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """By name, what is indexed of each document."""
    indexed = {PLAIN: list(texts), "text twice (control)": [f"{text}\n{text}" for text in texts]}
    for source, words in keywords.items():
        others = random.Random(0).sample(list(words), len(words))
        indexed[f"{source} keywords alone"] = list(words)
        indexed[f"text + {source}"] = [f"{text}\n{own}" for text, own in zip(texts, words, strict=True)]
        indexed[f"text twice + {source}"] = [f"{text}\n{text}\n{own}" for text, own in zip(texts, words, strict=True)]
        indexed[f"text + another's {source} (control)"] = [f"{t}\n{o}" for t, o in zip(texts, others, strict=True)]
    return indexed


def compared(values: Values, plain: Values) -> str:
    """The mean, and how it differs from the plain text's."""
    low, high = bootstrap_interval(values - plain)
    return f"{values.mean():.3f} {(values - plain).mean():+.3f}\n[{low:+.3f}, {high:+.3f}]"


def show(title: str, headings: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """One table."""
    table = Table(title=title, show_lines=True)
    for heading in ("indexed", *headings):
        table.add_column(heading, justify="left" if heading == "indexed" else "right")
    for name, cells in rows.items():
        table.add_row(name, *cells)
    Console(width=140).print(table)


def main(argv: Sequence[str] | None = None) -> None:
    """Index, ask, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data: Path = parser.parse_args(argv).data
    folder = data if (data / "keywords.jsonl").is_file() else data / "juristcu"
    grid = Grid(load_collection(folder, "dev"))
    keywords = sources(folder, grid)
    measured = {
        name: grid.columns(indexed) for name, indexed in track(ways(grid.texts, keywords).items(), "indexing", total=10)
    }
    plain = measured[PLAIN]
    rows = {name: [compared(values[c], plain[c]) for c in COLUMNS] for name, values in measured.items()}
    show(f"nDCG@10 over {len(grid.asked)} questions; difference from the plain text", COLUMNS, rows)
    groups = np.array([question.metadata["group"] for question in grid.collection.questions])
    for group, name in GROUPS.items():
        mine = groups == group
        rows = {way: [compared(v[c][mine], plain[c][mine]) for c in COLUMNS] for way, v in measured.items()}
        show(f"the {mine.sum()} questions of the group {name!r}", COLUMNS, rows)
    weights = [f"weight {weight}" for weight in FIELD_WEIGHTS]
    rows = {
        f"text, {source}": [compared(grid.two_fields(words, weight), plain["BM25"]) for weight in FIELD_WEIGHTS]
        for source, words in keywords.items()
    }
    show("BM25 with the keywords in a field of their own", weights, rows)


if __name__ == "__main__":
    main()
