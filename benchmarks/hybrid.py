"""Which first stage, and how fast: `HybridIndex`, its arms, the frameworks' own retrievers, and a reranker behind it.

    python benchmarks/hybrid.py --data DIR [--parts quality peers latency adapters rerank]
                                [--collection juristcu] [--language pt] [--first 200] [--skip-rerank]
    python benchmarks/hybrid.py --size 100000

The first searches the whole of `DIR/juristcu`, or of another collection, for all or the first dev questions. Quality:
nDCG@10 with 95 % bootstrap intervals, and the share of the judged relevant passages among the 500 found. More than
half of a top ten is unjudged in juristcu: the figures compare first stages with each other and nothing else. Peers get
the same passages, vectors and depth; those that are not installed say so. Latency: see `hybrid_latency.py`. The second
measures an index of so many made-up documents: see `hybrid_size.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from hybrid_latency import CACHE_MB, COLD_QUESTIONS, show_adapters, show_latency, show_rerank
from hybrid_size import show_size
from peers import PEERS, Passages, Search
from rich.console import Console
from rich.progress import track
from rich.table import Table

from limiar import Analyzer, BundledEncoder, Encoder, HybridIndex, IndexDocument, LateInteractionScorer
from limiar.evaluation.dataset import Collection, load_collection
from limiar.evaluation.metrics import bootstrap_interval, ndcg
from limiar.retrieval.hybrid_index import DEFAULT_CANDIDATES

METHODS = ("rrf", "relative", "distribution")
PARTS = ("quality", "peers", "latency", "adapters", "rerank")
DEPTH = 500
Ranking = tuple[str, Search]


class OnceEncoder:
    """Embeds each passage once, for all that want its vector; questions as often as asked, unless they are kept."""

    keep_questions = False

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._known: dict[str, np.ndarray] = {}
        self._questions: dict[str, np.ndarray] = {}
        self.model_id = encoder.model_id
        self.dimensions = encoder.dimensions

    def embed_query(self, text: str) -> np.ndarray:
        if not self.keep_questions:
            return self._encoder.embed_query(text)
        if text not in self._questions:
            self._questions[text] = self._encoder.embed_query(text)
        return self._questions[text]

    def embed_documents(self, texts: Sequence[str], *, progress: object = None) -> np.ndarray:  # noqa: ARG002
        if new := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known.update(zip(new, self._encoder.embed_documents(new), strict=True))
        return np.stack([self._known[text] for text in texts])


def first_stages(index: HybridIndex) -> Iterator[Ranking]:
    """By name, what finds ids."""

    def stage(depth: int = DEPTH, **options: object) -> Search:
        return lambda question: [
            hit.document.id for hit in index.search(question, depth, candidates=depth, **options).hits
        ]

    yield "BM25 arm", stage(weights={"dense": 0.0})
    yield "dense arm", stage(weights={"bm25": 0.0})
    for method in METHODS:
        yield f"fused, {method}", stage(fusion=method)
    for method in METHODS:
        yield f"fused, {method}, {DEFAULT_CANDIDATES} of each arm", stage(DEFAULT_CANDIDATES, fusion=method)


def reranked(index: HybridIndex) -> Ranking:
    """The default fusion, all 500 of it reranked."""
    scorer = LateInteractionScorer(cache_mb=CACHE_MB)

    def search(question: str) -> list[str]:
        documents = [hit.document for hit in index.search(question, DEPTH).hits]
        scores = scorer.score(question, [document.text for document in documents])
        order = sorted(range(len(documents)), key=lambda place: -scores[place])
        return [documents[place].id for place in order]

    return "fused, relative, all 500 reranked", search


def peers(passages: Passages) -> Iterator[tuple[str, Search | str]]:
    """By name, what finds ids, or what to install."""
    for peer in PEERS:
        yield peer.name, peer.search_in(passages) or f"not installed (pip install {peer.packages})"


class QualityTable:
    """nDCG and recall, a line for each first stage."""

    def __init__(self, title: str, collection: Collection) -> None:
        self._collection = collection
        self._table = Table(title=title)
        for heading in ("first stage", "nDCG@10", "95 %", f"recall@{DEPTH}"):
            self._table.add_column(heading, justify="left" if heading == "first stage" else "right")

    def add(self, name: str, search: Search | str) -> None:
        """Ask all questions, or say why not."""
        if isinstance(search, str):
            self._table.add_row(name, search)
            return
        gains, recalls, depth = [], [], 0
        for question in track(self._collection.questions, name, transient=True):
            ranking, grades = search(question.text), self._collection.qrels[question.id]
            gains.append(ndcg(ranking, grades))
            recalls.append(recall(ranking, grades))
            depth = max(depth, len(ranking))
        low, high = bootstrap_interval(gains)
        found = f"{np.mean(recalls):.3f}" if depth >= DEPTH else "-"
        self._table.add_row(name, f"{np.mean(gains):.3f}", f"{low:.3f}-{high:.3f}", found)

    def show(self) -> None:
        """Print it."""
        Console(width=110).print(self._table)


def recall(ranking: Sequence[str], grades: Mapping[str, int]) -> float:
    """The share of the relevant passages that the first 500 hold."""
    relevant = {identity for identity, grade in grades.items() if grade > 0}
    return len(relevant & set(ranking[:DEPTH])) / len(relevant)


def show_collection(
    collection: Collection, parts: Sequence[str], rounds: int, *, language: str, skip_rerank: bool
) -> None:
    """Index the passages, then print what is asked for."""
    texts = {passage.id: passage.full_text for passage in collection.passages}
    encoder = OnceEncoder(BundledEncoder())
    made = {"encoder": encoder, "analyzer": Analyzer(language)}
    with tempfile.TemporaryDirectory() as folder, HybridIndex.create(Path(folder) / "index", **made) as index:
        index.add([IndexDocument(identity, {"text": text}) for identity, text in texts.items()])
        tables: dict[str, Callable[[], Iterator[tuple[str, Search | str]]]] = {
            "quality": lambda: first_stages(index) if skip_rerank else chain(first_stages(index), [reranked(index)]),
            "peers": lambda: peers(Passages(texts, encoder, DEPTH)),
        }
        for part in (part for part in parts if part in tables):
            table = QualityTable(f"{part}: {collection.name}, {len(collection.questions)} questions", collection)
            for name, search in tables[part]():
                table.add(name, search)
            table.show()
        questions = [question.text for question in collection.questions]
        if "latency" in parts:
            show_latency(index, questions, rounds)
        if "rerank" in parts:
            show_rerank(index, questions[:COLD_QUESTIONS])
        if "adapters" in parts:
            encoder.keep_questions = True
            show_adapters(index, questions, rounds)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--collection", default="juristcu", help="a folder of DIR in BEIR's layout")
    parser.add_argument("--language", default="pt", help="of the collection")
    parser.add_argument("--skip-rerank", action="store_true", help="leave the reranked row of quality out")
    parser.add_argument("--first", type=int, help="so many questions only")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3, help="how often each question is timed")
    parser.add_argument("--size", type=int, help="measure an index of so many made-up documents")
    args = parser.parse_args(argv)
    if (args.data is None) == (args.size is None):
        parser.error("give --data or --size")
    print(f"load average at the start: {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs")
    if args.size is not None:
        show_size(args.size)
    else:
        collection = load_collection(args.data / args.collection, "dev")
        collection = dataclasses.replace(collection, questions=collection.questions[: args.first])
        options = {"language": args.language, "skip_rerank": args.skip_rerank}
        show_collection(collection, args.parts, args.rounds, **options)
    print(f"load average at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
