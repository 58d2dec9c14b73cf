"""What the demo counts over a set of judged questions: a pure function of what was shown before and after limiar."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Outcome:
    """What one question got.

    Attributes:
        question: its id.
        relevant: the ids of all passages judged relevant; none for a question that the corpus does not answer.
        before: the ids that the first stage alone would have put in the prompt.
        after: the ids that limiar returned.
        fell_back: no passage reached the threshold, so `after` is the fallback.
        milliseconds: what the rerank took, its passages being known to the scorer.
        cold_milliseconds: the same without any cache; None where it was not measured.
    """

    question: str
    relevant: frozenset[str]
    before: tuple[str, ...]
    after: tuple[str, ...]
    fell_back: bool
    milliseconds: float
    cold_milliseconds: float | None = None

    @property
    def irrelevant_before(self) -> int:
        return len(set(self.before) - self.relevant)

    @property
    def irrelevant_after(self) -> int:
        return len(set(self.after) - self.relevant)

    @property
    def found_before(self) -> int:
        return len(set(self.before) & self.relevant)

    @property
    def found_after(self) -> int:
        return len(set(self.after) & self.relevant)


@dataclass(frozen=True)
class Side:
    """All passages that the questions got, on one side of the comparison.

    Attributes:
        passages: how many, over all questions.
        irrelevant: how many of these are not relevant to their question.
        irrelevant_share: irrelevant / passages.
        precision: 1 - irrelevant_share.
        recall: relevant ones among them / all relevant ones in the corpus.
    """

    passages: int
    irrelevant: int
    irrelevant_share: float | None
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Latency:
    """Milliseconds over `count` reranks; `p95` is by nearest rank. None where there were none."""

    count: int
    mean: float | None
    p95: float | None


@dataclass(frozen=True)
class Measurements:
    """The demo's table. Shares pool all questions (micro-averages) and are None where their divisor is 0.

    Attributes:
        questions: all of them.
        unanswerable: questions with no relevant passage in the corpus.
        before: the first stage alone.
        after: all that limiar returned, fallbacks included.
        trusted: what limiar returned without the fallbacks, which it marks as not trusted.
        reduction: 1 - after.irrelevant_share / before.irrelevant_share.
        trusted_reduction: 1 - trusted.irrelevant_share / before.irrelevant_share.
        recall_ratio: after.recall / before.recall.
        false_alarms: unanswerable questions with a passage that reached the threshold.
        flagged: unanswerable questions for which limiar fell back.
        missed: answerable questions for which limiar fell back.
        warm, cold: how long reranks took.
    """

    questions: int
    unanswerable: int
    before: Side
    after: Side
    trusted: Side
    reduction: float | None
    trusted_reduction: float | None
    recall_ratio: float | None
    false_alarms: int
    flagged: int
    missed: int
    warm: Latency
    cold: Latency

    def as_dict(self) -> dict[str, object]:
        """Everything as plain values, for JSON."""
        return asdict(self)


def measure(outcomes: Sequence[Outcome]) -> Measurements:
    """Count over all questions.

    Example:
        >>> outcome = Outcome("q1", frozenset({"a"}), ("a", "b", "c", "d"), ("a",), fell_back=False, milliseconds=1.0)
        >>> measure([outcome]).before.irrelevant_share, measure([outcome]).reduction
        (0.75, 1.0)
    """
    wanted = sum(len(outcome.relevant) for outcome in outcomes)
    before = _side([(outcome.before, outcome.relevant) for outcome in outcomes], wanted)
    after = _side([(outcome.after, outcome.relevant) for outcome in outcomes], wanted)
    trusted = _side([(outcome.after, outcome.relevant) for outcome in outcomes if not outcome.fell_back], wanted)
    unanswerable = [outcome for outcome in outcomes if not outcome.relevant]
    flagged = sum(outcome.fell_back for outcome in unanswerable)
    return Measurements(
        questions=len(outcomes),
        unanswerable=len(unanswerable),
        before=before,
        after=after,
        trusted=trusted,
        reduction=_reduction(before, after),
        trusted_reduction=_reduction(before, trusted),
        recall_ratio=_share(after.recall, before.recall),
        false_alarms=len(unanswerable) - flagged,
        flagged=flagged,
        missed=sum(outcome.fell_back for outcome in outcomes) - flagged,
        warm=_latency(outcome.milliseconds for outcome in outcomes),
        cold=_latency(o.cold_milliseconds for o in outcomes if o.cold_milliseconds is not None),
    )


def _side(shown: Sequence[tuple[tuple[str, ...], frozenset[str]]], wanted: int) -> Side:
    passages = sum(len(set(ids)) for ids, _ in shown)
    found = sum(len(set(ids) & relevant) for ids, relevant in shown)
    return Side(
        passages=passages,
        irrelevant=passages - found,
        irrelevant_share=_share(passages - found, passages),
        precision=_share(found, passages),
        recall=_share(found, wanted),
    )


def _reduction(before: Side, after: Side) -> float | None:
    remaining = _share(after.irrelevant_share, before.irrelevant_share)
    return None if remaining is None else 1.0 - remaining


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _latency(milliseconds: Iterable[float]) -> Latency:
    ordered = sorted(milliseconds)
    if not ordered:
        return Latency(0, None, None)
    return Latency(len(ordered), sum(ordered) / len(ordered), ordered[math.ceil(0.95 * len(ordered)) - 1])
