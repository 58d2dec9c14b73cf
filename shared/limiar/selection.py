"""Which scores are kept: a pure function of the scores, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from limiar.errors import ConfigurationError, NothingRelevantError, ScoringError

FallbackPolicy = Literal["top1", "empty", "original", "raise"]
FALLBACK_POLICIES: tuple[str, ...] = get_args(FallbackPolicy)

DEFAULT_THRESHOLD = 0.45
DEFAULT_TOP_K = 3


@dataclass(frozen=True)
class SelectionPolicy:
    """What to keep of a scored list.

    Args:
        threshold: keep `score >= threshold`, inclusive; in [0, 1].
        top_k: at most so many are kept; at least 1.
        fallback: what comes back if nothing passes. "top1": the best one; "empty": nothing; "original": the first
            `top_k` in incoming order; "raise": `NothingRelevantError`.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    threshold: float = DEFAULT_THRESHOLD
    top_k: int = DEFAULT_TOP_K
    fallback: FallbackPolicy = "top1"

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        check_top_k(self.top_k)
        check_choice("fallback", self.fallback, FALLBACK_POLICIES)


@dataclass(frozen=True)
class Selection:
    """Positions in the scored list.

    Attributes:
        kept: the positions kept, in the order in which they are returned.
        order: all positions, best first; ties stay in incoming order.
        fell_back: nothing passed, and `kept` is what the fallback policy says.
    """

    kept: tuple[int, ...]
    order: tuple[int, ...]
    fell_back: bool


def select(scores: Sequence[float], policy: SelectionPolicy) -> Selection:
    """Sort by score, keep `score >= threshold`, cut to `top_k`; fall back if nothing passes.

    Args:
        scores: one score for each document, in [0, 1].
        policy: threshold, `top_k` and fallback.

    Raises:
        ScoringError: a score is NaN.
        NothingRelevantError: nothing passes and the policy says "raise".

    Example:
        >>> select([0.2, 0.9, 0.5], SelectionPolicy(threshold=0.45)).kept
        (1, 2)
    """
    for position, score in enumerate(scores):
        if math.isnan(score):
            msg = f"the score of document {position} is NaN; expected a number in [0, 1]"
            raise ScoringError(msg)
    order = tuple(sorted(range(len(scores)), key=lambda position: -scores[position]))
    passing = tuple(position for position in order if scores[position] >= policy.threshold)
    if passing or not order:
        return Selection(passing[: policy.top_k], order, fell_back=False)
    return Selection(_fall_back(scores, order, policy), order, fell_back=True)


def _fall_back(scores: Sequence[float], order: tuple[int, ...], policy: SelectionPolicy) -> tuple[int, ...]:
    if policy.fallback == "raise":
        raise NothingRelevantError(policy.threshold, scores[order[0]], len(order))
    if policy.fallback == "empty":
        return ()
    if policy.fallback == "original":
        return tuple(range(min(policy.top_k, len(order))))
    return order[:1]


def check_threshold(threshold: float) -> None:
    """Raise `ConfigurationError` unless `threshold` is a number in [0, 1]."""
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0.0 <= threshold <= 1.0:
        msg = f"threshold={threshold!r}; expected a number from 0 to 1 (the default is {DEFAULT_THRESHOLD})"
        raise ConfigurationError(msg)


def check_top_k(top_k: int) -> None:
    """Raise `ConfigurationError` unless `top_k` is a whole number of at least 1."""
    if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
        msg = f"top_k={top_k!r}; expected a whole number of at least 1 (the default is {DEFAULT_TOP_K})"
        raise ConfigurationError(msg)


def check_count(name: str, value: int, least: int, most: float = math.inf) -> None:
    """Refuse a value that is not a whole number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        span = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        msg = f"{name}={value!r}; expected a whole number {span}"
        raise ConfigurationError(msg)


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise `ConfigurationError` unless `value` is one of `choices`."""
    if value not in choices:
        msg = f"{name}={value!r}; expected one of: {', '.join(choices)}"
        raise ConfigurationError(msg)
