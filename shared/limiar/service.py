"""One reranker for the whole process, and the plain call over it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import NamedTuple

from limiar.inputs import check_texts
from limiar.rerank import Reranker, RerankResult
from limiar.scoring.protocol import Scorer
from limiar.selection import DEFAULT_THRESHOLD, DEFAULT_TOP_K, SelectionPolicy, check_threshold

logger = logging.getLogger("limiar.service")


class RankedText(NamedTuple):
    """A kept text and its score in [0, 1]; unpacks as `text, score`."""

    text: str
    score: float


class RerankerService:
    """A reranker over plain strings whose threshold and model can be changed while it runs.

    The model is loaded at the first call. All methods may be called from many threads.

    Args:
        model: a model name, a `Scorer`, or None for the bundled Portuguese and English scorer.
        threshold: keep `score >= threshold`; in [0, 1].
        log_scores: log each score, with the position of its document, at level INFO. Texts are never logged.

    Example:
        >>> from limiar.testing import KeywordScorer
        >>> service = RerankerService(KeywordScorer())
        >>> service.get_relevant_docs("ceph quorum", ["Ceph monitors form a quorum", "Bread"])
        ['Ceph monitors form a quorum']
    """

    def __init__(
        self,
        model: Scorer | str | None = None,
        *,
        threshold: float = DEFAULT_THRESHOLD,
        log_scores: bool = False,
    ) -> None:
        check_threshold(threshold)
        self._lock = threading.Lock()
        self._threshold = threshold
        self._model = model
        self._reranker: Reranker | None = None
        self.log_scores = log_scores

    @property
    def threshold(self) -> float:
        """The threshold of the calls to come; a value outside [0, 1] raises `ConfigurationError`."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        check_threshold(value)
        self._threshold = value

    @property
    def model(self) -> Scorer | str | None:
        """The model of the calls to come: a name, a `Scorer`, or None for the bundled one."""
        return self._model

    @model.setter
    def model(self, value: Scorer | str | None) -> None:
        with self._lock:
            self._model = value
            self._reranker = None

    def warm_up(self) -> None:
        """Load the model now instead of at the first call."""
        self._current().warm_up()

    def explain(self, query: str, documents: Iterable[str], top_k: int = DEFAULT_TOP_K) -> RerankResult:
        """The whole result: kept and dropped documents with scores, logits and ranks, and whether it fell back.

        Raises:
            ConfigurationError: `top_k` is not a whole number of at least 1.
            InputError: the query is blank.
            InputTypeError: the query or a document is not a string.
            ScoringError: the model failed on these texts.
        """
        result = self._current().rerank(query, documents, policy=SelectionPolicy(self._threshold, top_k))
        if self.log_scores:
            for document in sorted((*result.kept, *result.dropped), key=lambda d: d.index):
                logger.info("document %d: score %.4f, passed %s", document.index, document.score, document.passed)
        return result

    def rerank(self, query: str, documents: Iterable[str], top_k: int = DEFAULT_TOP_K) -> list[RankedText]:
        """The kept texts with their scores, best first. Errors as `explain`.

        If nothing reaches the threshold, the single best text comes back.
        """
        texts = check_texts(documents)
        result = self.explain(query, texts, top_k)
        return [RankedText(texts[d.index], d.score or 0.0) for d in result.kept]

    def get_relevant_docs(self, query: str, documents: Iterable[str], top_k: int = DEFAULT_TOP_K) -> list[str]:
        """The kept texts, best first. Errors as `explain`.

        If nothing reaches the threshold, the single best text comes back.
        """
        return [ranked.text for ranked in self.rerank(query, documents, top_k)]

    def _current(self) -> Reranker:
        with self._lock:
            if self._reranker is None:
                self._reranker = Reranker(self._model)
            return self._reranker


reranker_service = RerankerService()


def get_relevant_docs(query: str, documents: Iterable[str], top_k: int = DEFAULT_TOP_K) -> list[str]:
    """The texts relevant to `query`, best first, by the process-wide `reranker_service`.

    Scores lie in [0, 1]; a text is kept if its score reaches `reranker_service.threshold` (0.45 unless changed). If
    none does, the single best text comes back; `reranker_service.explain` says so.

    Args:
        query: non-blank text.
        documents: strings; none gives an empty list.
        top_k: at most so many; at least 1.

    Raises:
        ConfigurationError: `top_k` is not a whole number of at least 1.
        InputError: the query is blank.
        InputTypeError: the query or a document is not a string.
    """
    return reranker_service.get_relevant_docs(query, documents, top_k)
