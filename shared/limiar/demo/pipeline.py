"""One question through the demo's chain: Chroma finds candidates, limiar keeps the relevant ones."""

from __future__ import annotations

import time
from dataclasses import dataclass

from limiar.demo.index import DemoIndex, Hit
from limiar.demo.measure import Outcome
from limiar.demo.options import FIRST_STAGE_TOP
from limiar.evaluation.dataset import Passage
from limiar.rerank import Reranker, RerankResult, ScoredDocument


@dataclass(frozen=True)
class Exchange:
    """A question and what became of it.

    Attributes:
        question: its text.
        hits: the candidates from Chroma, nearest first.
        result: what limiar made of them; its indices point into `hits`.
    """

    question: str
    hits: tuple[Hit, ...]
    result: RerankResult

    @property
    def kept(self) -> list[Passage]:
        """The passages that limiar returns, best first."""
        return [self.hits[document.index].passage for document in self.result.kept]

    @property
    def by_rank(self) -> list[ScoredDocument]:
        """What limiar says of each hit, in Chroma's order."""
        return sorted((*self.result.kept, *self.result.dropped), key=lambda document: document.index)


@dataclass(frozen=True)
class Pipeline:
    """The chain.

    Attributes:
        index: the first stage.
        reranker: limiar.
        uncached: the same over a scorer without a cache, to time passages never seen before.
        candidates: how many passages the first stage hands over.
    """

    index: DemoIndex
    reranker: Reranker
    uncached: Reranker
    candidates: int

    def ask(self, question: str) -> Exchange:
        hits = tuple(self.index.search(question, self.candidates))
        return Exchange(question, hits, self.reranker.rerank(question, _texts(hits)))

    def outcome(self, id_: str, exchange: Exchange, relevant: frozenset[str], *, cold: bool) -> Outcome:
        """What counts for the measurements, with the rerank timed once more; `cold` times it without a cache too."""
        return Outcome(
            question=id_,
            relevant=relevant,
            before=tuple(hit.passage.id for hit in exchange.hits[:FIRST_STAGE_TOP]),
            after=tuple(passage.id for passage in exchange.kept),
            fell_back=exchange.result.fell_back,
            milliseconds=_milliseconds(self.reranker, exchange),
            cold_milliseconds=_milliseconds(self.uncached, exchange) if cold else None,
        )


def _milliseconds(reranker: Reranker, exchange: Exchange) -> float:
    texts = _texts(exchange.hits)
    start = time.perf_counter()
    reranker.rerank(exchange.question, texts)
    return (time.perf_counter() - start) * 1000


def _texts(hits: tuple[Hit, ...]) -> list[str]:
    return [hit.passage.full_text for hit in hits]
