"""One question through the demo's chain: the index finds candidates, limiar keeps the relevant ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from limiar.demo.index import DemoIndex, Hit
from limiar.demo.measure import Outcome
from limiar.demo.options import FIRST_STAGE_TOP
from limiar.rerank import Reranker, RerankResult


@dataclass(frozen=True)
class Exchange:
    """A question and what became of it.

    Attributes:
        question: its text.
        nearest: what a chain without limiar puts in its prompt: the first passages by Chroma alone, nearest first.
        candidates: what limiar got, in the order of the first stage.
        result: what limiar made of them; its indices point into `candidates`.
    """

    question: str
    nearest: tuple[Hit, ...]
    candidates: tuple[Hit, ...]
    result: RerankResult

    @property
    def kept(self) -> list[Hit]:
        """What limiar returns, best first."""
        return [self.candidates[document.index] for document in self.result.kept]


@dataclass(frozen=True)
class Pipeline:
    """The chain.

    Attributes:
        index: the first stage.
        reranker: limiar.
        uncached: the same over a scorer without a cache, to time passages never seen before.
        candidates: how many passages the first stage hands over.
        by_words: whether the words written for the passages find candidates, too.
    """

    index: DemoIndex
    reranker: Reranker
    uncached: Reranker
    candidates: int
    by_words: bool

    def ask(self, question: str) -> Exchange:
        found = self.index.search(question, self.candidates, by_words=self.by_words)
        result = self.reranker.rerank(question, _texts(found.candidates))
        return Exchange(question, found.nearest[:FIRST_STAGE_TOP], found.candidates, result)

    def outcome(self, id_: str, exchange: Exchange, relevant: frozenset[str], *, cold: bool) -> Outcome:
        """What counts for the measurements, with the rerank timed once more; `cold` times it without a cache too."""
        return Outcome(
            question=id_,
            relevant=relevant,
            before=_ids(exchange.nearest),
            after=_ids(exchange.kept),
            fell_back=exchange.result.fell_back,
            milliseconds=_milliseconds(self.reranker, exchange),
            cold_milliseconds=_milliseconds(self.uncached, exchange) if cold else None,
        )


def _milliseconds(reranker: Reranker, exchange: Exchange) -> float:
    texts = _texts(exchange.candidates)
    start = time.perf_counter()
    reranker.rerank(exchange.question, texts)
    return (time.perf_counter() - start) * 1000


def _texts(hits: Sequence[Hit]) -> list[str]:
    return [hit.passage.full_text for hit in hits]


def _ids(hits: Sequence[Hit]) -> tuple[str, ...]:
    return tuple(hit.passage.id for hit in hits)
