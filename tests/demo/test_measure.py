"""The demo's numbers, on sets small enough to count by hand."""

from __future__ import annotations

import json

import pytest

from limiar.demo.measure import Latency, Outcome, Side, measure


def outcome(
    relevant: str, before: str, after: str, *, fell_back: bool = False, ms: float = 1.0, cold: float | None = None
) -> Outcome:
    return Outcome("q", frozenset(relevant), tuple(before), tuple(after), fell_back, ms, cold)


def test_one_question() -> None:
    numbers = measure([outcome("ab", "axyzw", "ab")])
    assert numbers.before == Side(passages=5, irrelevant=4, irrelevant_share=0.8, precision=0.2, recall=0.5)
    assert numbers.after == Side(passages=2, irrelevant=0, irrelevant_share=0.0, precision=1.0, recall=1.0)
    assert numbers.reduction == 1.0
    assert numbers.recall_ratio == 2.0


def test_shares_pool_passages_not_questions() -> None:
    # Before: 3 of 4 and 1 of 4 irrelevant = 4/8. After: 1 of 3 and 0 of 1 = 1/4.
    numbers = measure([outcome("a", "axyz", "axy"[:3]), outcome("abc", "abcx", "a")])
    assert numbers.before.irrelevant_share == 0.5
    assert numbers.after.passages == 4
    assert numbers.after.irrelevant == 2
    assert numbers.after.irrelevant_share == 0.5
    assert numbers.reduction == 0.0
    assert numbers.before.recall == 1.0
    assert numbers.after.recall == numbers.recall_ratio == 0.5


def test_a_rise_is_a_negative_reduction() -> None:
    assert measure([outcome("a", "ax", "x")]).reduction == -1.0


def test_fallbacks_count_among_what_came_back_but_not_among_what_is_trusted() -> None:
    numbers = measure([outcome("a", "axyz", "a"), outcome("b", "wxyz", "x", fell_back=True)])
    assert numbers.after.irrelevant_share == 0.5
    assert numbers.trusted.irrelevant_share == 0.0
    assert numbers.trusted.recall == 0.5
    assert numbers.reduction == pytest.approx(1 - 0.5 / (7 / 8))
    assert numbers.trusted_reduction == 1.0


def test_questions_without_an_answer() -> None:
    numbers = measure(
        [
            outcome("", "xy", "x"),
            outcome("", "xy", "x", fell_back=True),
            outcome("", "xy", "", fell_back=True),
            outcome("a", "ax", "a", fell_back=True),
            outcome("a", "ax", "a"),
        ]
    )
    assert (numbers.questions, numbers.unanswerable) == (5, 3)
    assert (numbers.false_alarms, numbers.flagged, numbers.missed) == (1, 2, 1)


def test_what_cannot_be_computed_is_none() -> None:
    empty = measure([])
    assert empty.before == empty.after == Side(0, 0, None, None, None)
    assert empty.reduction is empty.recall_ratio is None
    assert empty.warm == Latency(0, None, None)
    unanswerable = measure([outcome("", "xy", "", fell_back=True)])
    assert unanswerable.before.recall is unanswerable.after.irrelevant_share is unanswerable.reduction is None
    perfect = measure([outcome("a", "a", "a")])
    assert perfect.before.irrelevant_share == 0.0
    assert perfect.reduction is None


def test_latency() -> None:
    numbers = measure([outcome("a", "a", "a", ms=float(ms), cold=9.0 if ms == 7 else None) for ms in range(1, 21)])
    assert numbers.warm == Latency(count=20, mean=10.5, p95=19.0)
    assert numbers.cold == Latency(count=1, mean=9.0, p95=9.0)


def test_the_numbers_as_json() -> None:
    content = json.loads(json.dumps(measure([outcome("a", "ax", "a")]).as_dict(), allow_nan=False))
    assert content["before"]["irrelevant_share"] == 0.5
    assert content["cold"] == {"count": 0, "mean": None, "p95": None}
