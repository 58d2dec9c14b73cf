"""Score, select, and say why: the one path that every adapter takes."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from limiar.concurrency import run_in_pool
from limiar.errors import ConfigurationError, InputError, LimiarError, ScoringError
from limiar.inputs import check_query, check_texts
from limiar.scoring.protocol import Scorer, Scores
from limiar.scoring.resolve import resolve_scorer
from limiar.selection import (
    DEFAULT_THRESHOLD,
    DEFAULT_TOP_K,
    FallbackPolicy,
    SelectionPolicy,
    check_choice,
    select,
)

logger = logging.getLogger("limiar")

OnError = Literal["raise", "original"]
ON_ERROR_POLICIES: tuple[str, ...] = get_args(OnError)


@dataclass(frozen=True)
class ScoredDocument:
    """What became of one input document.

    Attributes:
        index: position in the input, from 0.
        score: relevance in [0, 1]; None only if the scorer failed and `on_error="original"`.
        logit: the scorer's raw logit; None where there is none (a blank text, or a scorer that gives probabilities).
        original_rank: rank in the incoming order, from 1.
        passed: the score reaches the threshold. A kept document that did not pass is a fallback.
        truncated: the scorer could not read the text to its end.
    """

    index: int
    score: float | None
    logit: float | None
    original_rank: int
    passed: bool
    truncated: bool = False


@dataclass(frozen=True)
class RerankResult:
    """The outcome of one rerank.

    Attributes:
        kept: the documents to use, best first.
        dropped: the others, best first.
        model_id: the scorer's name.
        threshold: the threshold that was applied.
        fell_back: nothing passed the threshold, so `kept` is what the fallback policy says.
        error: why the incoming order was returned instead of a ranking (`on_error="original"`), else None.
    """

    kept: tuple[ScoredDocument, ...]
    dropped: tuple[ScoredDocument, ...]
    model_id: str
    threshold: float
    fell_back: bool = False
    error: str | None = None

    @property
    def truncated(self) -> tuple[int, ...]:
        """Positions of the input documents that the scorer could not read to the end, ascending."""
        return tuple(sorted(d.index for d in (*self.kept, *self.dropped) if d.truncated))


class Reranker:
    """Keeps the documents that are relevant to a query.

    Order of operations: score all documents; sort by score, ties in incoming order; keep `score >= threshold`; cut to
    `top_k`; if nothing passes, apply `fallback`. Blank documents score 0 and are never sent to the scorer.

    Args:
        scorer: a `Scorer`, a model name, or None for the bundled Portuguese and English scorer. A model is loaded at
            its first use, or by `warm_up()`.
        threshold: in [0, 1], inclusive.
        top_k: at least 1.
        fallback: "top1", "empty", "original" or "raise"; see `SelectionPolicy`.
        on_error: what a failing scorer does: "raise" the error, or return the first `top_k` in "original" order, with
            the reason in the result and the log.

    Raises:
        ConfigurationError: a value is out of its range.

    Example:
        >>> from limiar.testing import KeywordScorer
        >>> reranker = Reranker(KeywordScorer())
        >>> result = reranker.rerank("quorum", ["Pasta recipes", "Losing quorum stops the cluster"])
        >>> [document.index for document in result.kept]
        [1]
    """

    def __init__(
        self,
        scorer: Scorer | str | None = None,
        *,
        threshold: float = DEFAULT_THRESHOLD,
        top_k: int = DEFAULT_TOP_K,
        fallback: FallbackPolicy = "top1",
        on_error: OnError = "raise",
    ) -> None:
        check_choice("on_error", on_error, ON_ERROR_POLICIES)
        self.policy = SelectionPolicy(threshold, top_k, fallback)
        self.on_error: OnError = on_error
        self.scorer = resolve_scorer(scorer)

    def warm_up(self) -> None:
        """Load the model now instead of at the first query."""
        load = getattr(self.scorer, "warm_up", None)
        if load is not None:
            load()

    def rerank(self, query: str, documents: Iterable[str], *, policy: SelectionPolicy | None = None) -> RerankResult:
        """Score `documents` against `query` and keep the relevant ones.

        Args:
            query: non-blank text.
            documents: texts, best first stage hit first; never changed.
            policy: replaces the reranker's own for this call.

        Raises:
            InputError: the query is blank.
            InputTypeError: the query or a document is not a string.
            ScoringError: the scorer failed, gave NaN, or not one score for each text.
            NothingRelevantError: nothing passed and the fallback is "raise".
        """
        query = check_query(query)
        texts = check_texts(documents)
        policy = policy or self.policy
        try:
            scored = self._score(query, texts)
        except (ConfigurationError, InputError):
            raise
        except LimiarError as error:
            if self.on_error == "raise":
                raise
            return self._original_order(len(texts), policy, error)
        return self._select(scored, policy)

    async def arerank(
        self, query: str, documents: Iterable[str], *, policy: SelectionPolicy | None = None
    ) -> RerankResult:
        """`rerank` in the package's bounded thread pool."""
        return await run_in_pool(self.rerank, query, documents, policy=policy)

    def _score(self, query: str, texts: list[str]) -> list[ScoredDocument]:
        present = [index for index, text in enumerate(texts) if text.strip()]
        scored = [ScoredDocument(index, 0.0, None, index + 1, passed=False) for index in range(len(texts))]
        if not present:
            return scored
        try:
            raw = self.scorer.score(query, [texts[index] for index in present])
        except LimiarError:
            raise
        except Exception as error:
            msg = f"scorer {self.scorer.model_id!r} failed: {type(error).__name__}: {error}"
            raise ScoringError(msg) from error
        truncated = raw.truncated if isinstance(raw, Scores) else frozenset()
        values = _checked(raw, present, self.scorer)
        for place, (index, value) in enumerate(zip(present, values, strict=True)):
            logit = value if self.scorer.scale == "logit" else None
            score = sigmoid(value) if self.scorer.scale == "logit" else value
            scored[index] = replace(scored[index], score=score, logit=logit, truncated=place in truncated)
        return scored

    def _select(self, scored: list[ScoredDocument], policy: SelectionPolicy) -> RerankResult:
        scores = [0.0 if document.score is None else document.score for document in scored]
        selection = select(scores, policy)
        marked = [replace(d, passed=score >= policy.threshold) for d, score in zip(scored, scores, strict=True)]
        kept_positions = set(selection.kept)
        kept = tuple(marked[position] for position in selection.kept)
        dropped = tuple(marked[position] for position in selection.order if position not in kept_positions)
        if selection.fell_back:
            logger.info(
                "no document of %d reached threshold %s; fallback %r keeps %d",
                len(scored), policy.threshold, policy.fallback, len(kept),
            )  # fmt: skip
        return RerankResult(kept, dropped, self.scorer.model_id, policy.threshold, selection.fell_back)

    def _original_order(self, count: int, policy: SelectionPolicy, error: LimiarError) -> RerankResult:
        reason = f"{type(error).__name__}: {error}"
        # Names only: the message of a foreign error may quote a document.
        names = [type(e).__name__ for e in (error, error.__cause__) if e is not None]
        logger.warning(
            "reranking by %r failed, the incoming order is kept (%s)", self.scorer.model_id, " from ".join(names)
        )
        documents = tuple(ScoredDocument(index, None, None, index + 1, passed=False) for index in range(count))
        kept, dropped = documents[: policy.top_k], documents[policy.top_k :]
        return RerankResult(kept, dropped, self.scorer.model_id, policy.threshold, error=reason)


def sigmoid(logit: float) -> float:
    """1 / (1 + e^-logit) in float64, without overflow."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    power = math.exp(max(logit, -745.0))
    return power / (1.0 + power)


def _checked(raw: Sequence[float], present: list[int], scorer: Scorer) -> list[float]:
    """The scorer's answer as Python floats, one for each text sent."""
    try:
        values = [float(value) for value in raw]
    except (TypeError, ValueError) as error:
        msg = f"scorer {scorer.model_id!r} returned {type(raw).__name__}; expected one number for each document"
        raise ScoringError(msg) from error
    if len(values) != len(present):
        msg = f"scorer {scorer.model_id!r} returned {len(values)} scores for {len(present)} documents"
        raise ScoringError(msg)
    for index, value in zip(present, values, strict=True):
        if not math.isfinite(value):
            msg = f"scorer {scorer.model_id!r} returned {value} for document {index}; expected a finite number"
            raise ScoringError(msg)
        if scorer.scale == "probability" and not 0.0 <= value <= 1.0:
            msg = f"scorer {scorer.model_id!r} says it returns probabilities, but document {index} got {value!r}"
            raise ScoringError(msg)
    return values
