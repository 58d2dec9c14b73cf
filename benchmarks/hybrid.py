"""Which first stage: BM25, vectors, both fused, and both fused and reranked.

    python benchmarks/hybrid.py --data DIR

Searches the whole of `DIR/juristcu` (dev questions) with `BM25Index`, the bundled encoder's vectors and their fusion,
500 hits each, and reranks the fused 500 with the bundled scorer. nDCG@10 with 95 % bootstrap intervals, and the share
of the judged relevant passages among the 500. More than half of a top ten is unjudged there: the figures compare
first stages with each other and nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from limiar import Arm, BM25Index, IndexDocument, LateInteractionScorer, fuse
from limiar.embeddings.bundled import shared_encoder
from limiar.evaluation.dataset import Collection, load_collection
from limiar.evaluation.metrics import bootstrap_interval, ndcg

HITS = 500
METHODS = ("rrf", "relative", "distribution")
CACHE_MB = 2000


class FirstStages:
    """The arms over one collection."""

    def __init__(self, collection: Collection, folder: Path) -> None:
        self.ids = [passage.id for passage in collection.passages]
        self.texts = {passage.id: passage.full_text for passage in collection.passages}
        self.index = BM25Index.create(folder / "index")
        self.index.add(IndexDocument(identity, {"text": text}, {}) for identity, text in self.texts.items())
        self.vectors = shared_encoder().embed_documents(list(self.texts.values()))
        self.scorer = LateInteractionScorer(cache_mb=CACHE_MB)

    def rankings(self, question: str) -> dict[str, list[str]]:
        """By name of the first stage, the ids it finds, best first."""
        cosines = self.vectors @ shared_encoder().embed_query(question)
        nearest = np.argsort(-cosines, kind="stable")[:HITS]
        bm25 = Arm("bm25", [(hit.id, hit.score) for hit in self.index.search(question, HITS)], drop_zero=True)
        dense = Arm("dense", [(self.ids[place], float(cosines[place])) for place in nearest])
        found = {arm.name: [identity for identity, _ in arm.hits] for arm in (bm25, dense)}
        for method in METHODS:
            found[f"fused, {method}"] = [hit.id for hit in fuse([bm25, dense], method=method, limit=HITS)]
        fused = found["fused, rrf"]
        scores = self.scorer.score(question, [self.texts[identity] for identity in fused])
        order = sorted(range(len(fused)), key=lambda place: -scores[place])
        found["fused, rrf, all reranked"] = [fused[place] for place in order]
        return found


def recall(ranking: Sequence[str], grades: Mapping[str, int]) -> float:
    """The share of the relevant passages that the ranking holds."""
    relevant = {identity for identity, grade in grades.items() if grade > 0}
    return len(relevant & set(ranking)) / len(relevant)


def main(argv: Sequence[str] | None = None) -> None:
    """Search, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args(argv)
    collection = load_collection(args.data / "juristcu", "dev")
    gains: dict[str, list[float]] = {}
    recalls: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        stages = FirstStages(collection, Path(folder))
        for question in track(collection.questions, "searching"):
            grades = collection.qrels[question.id]
            for name, ranking in stages.rankings(question.text).items():
                gains.setdefault(name, []).append(ndcg(ranking, grades))
                recalls.setdefault(name, []).append(recall(ranking, grades))
        stages.index.close()
    table = Table(title=f"juristcu, {len(collection.questions)} questions, {len(collection.passages)} passages")
    for heading in ("first stage", "nDCG@10", "95 %", f"recall@{HITS}"):
        table.add_column(heading, justify="left" if heading == "first stage" else "right")
    for name, values in gains.items():
        low, high = bootstrap_interval(values)
        found = f"{np.mean(recalls[name]):.3f}"
        table.add_row(name, f"{np.mean(values):.3f}", f"{low:.3f}-{high:.3f}", found)
    Console().print(table)


if __name__ == "__main__":
    main()
