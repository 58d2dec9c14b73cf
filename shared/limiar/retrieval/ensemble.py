"""Arms asked together and fused: the one path that every hybrid retriever takes."""

from __future__ import annotations

import math
import numbers
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from limiar.errors import ArmError, ConfigurationError, InputError, InputTypeError
from limiar.retrieval.arms import ArmResults, OnArmError, arun_arms, check_arm_options, run_arms
from limiar.retrieval.checks import check_count, check_weights
from limiar.retrieval.fusion import DEFAULT_RRF_K, FUSION_METHODS, Arm, FusedHit, FusionMethod, fuse
from limiar.selection import check_choice

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Candidate(Generic[T]):
    """One hit of one arm.

    Attributes:
        id: what makes it the same document in another arm.
        score: the arm's own; None where it has none.
        item: the document itself, in whatever form the caller has it.
    """

    id: str
    score: float | None
    item: T


@dataclass(frozen=True)
class FusedItem(Generic[T]):
    """One document of the fused list: the item of the arm that ranks it best, and how it got there."""

    item: T
    hit: FusedHit


@dataclass(frozen=True)
class EnsembleResult(Generic[T]):
    """What the arms found together.

    Attributes:
        items: best first.
        skipped: by arm name, why it was left out.
    """

    items: list[FusedItem[T]]
    skipped: dict[str, str]


class Ensemble:
    """How named arms are asked and fused; see `run_arms` and `fuse` for what the parameters mean.

    Args:
        names: the arms, in order of precedence for ties; at least one.
        weights: by arm name, or one for each arm in order; None for 1 each.
        fusion: "rrf", "relative" or "distribution".
        rrf_k: the constant of "rrf".
        drop_zero: arms whose hits with a score of zero or below are no hits (lexical ones).
        timeout: seconds for each arm; None for no limit.
        on_error: "raise" or "skip" for an arm that fails or is late.

    Raises:
        ConfigurationError: a value is out of its range, or names no arm.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        weights: Mapping[str, float] | Sequence[float] | None = None,
        fusion: FusionMethod = "rrf",
        rrf_k: int = DEFAULT_RRF_K,
        drop_zero: Collection[str] = (),
        timeout: float | None = None,
        on_error: OnArmError = "raise",
    ) -> None:
        check_arm_options(dict.fromkeys(names), timeout, on_error)
        check_choice("fusion", fusion, FUSION_METHODS)
        self.names = tuple(names)
        self.weights = check_weights("arm", _named(weights, self.names), self.names)
        self.fusion: FusionMethod = fusion
        self.rrf_k = check_count("rrf_k", rrf_k)
        unknown = [name for name in drop_zero if name not in self.names]
        if isinstance(drop_zero, str) or unknown:
            msg = f"drop_zero={drop_zero!r}; expected a list of arms, which are: {', '.join(self.names)}"
            raise ConfigurationError(msg)
        self.drop_zero = frozenset(drop_zero)
        self.timeout = timeout
        self.on_error: OnArmError = on_error

    def run(self, arms: Mapping[str, Callable[[], Sequence[Candidate[T]]]], *, limit: int) -> EnsembleResult[T]:
        """Ask the arms in parallel and fuse what they find.

        Args:
            arms: a callable for each name.
            limit: at most so many documents.

        Raises:
            ArmError: an arm failed or was late and `on_error="raise"`, or no arm with a weight above 0 is left.
            InputError: the fusion needs scores and an arm has none.
        """
        check_count("limit", limit)
        return self._fused(run_arms(arms, timeout=self.timeout, on_error=self.on_error), limit)

    async def arun(
        self, arms: Mapping[str, Callable[[], Awaitable[Sequence[Candidate[T]]]]], *, limit: int
    ) -> EnsembleResult[T]:
        """`run` for coroutine functions, as tasks of the running loop."""
        check_count("limit", limit)
        return self._fused(await arun_arms(arms, timeout=self.timeout, on_error=self.on_error), limit)

    def fused(
        self, results: ArmResults[Sequence[tuple[str, float | None]]], limit: int | None = None
    ) -> list[FusedHit]:
        """Fuse what the arms found, as (id, score), best first.

        Raises:
            ArmError: no arm with a weight above 0 is left.
            InputError: the fusion needs scores and an arm has none.
        """
        weights = {name: self.weights[name] for name in self.names if name in results.found}
        if not any(weights.values()):
            reasons = "; ".join(f"{name}: {reason}" for name, reason in results.skipped.items())
            msg = f"every arm with a weight above 0 failed: {reasons}"
            raise ArmError(msg, list(results.skipped))
        arms = [Arm(name, results.found[name], name in self.drop_zero) for name in weights]
        return fuse(arms, method=self.fusion, weights=weights, rrf_k=self.rrf_k, limit=limit)

    def _fused(self, results: ArmResults[Sequence[Candidate[T]]], limit: int) -> EnsembleResult[T]:
        pairs: dict[str, Sequence[tuple[str, float | None]]] = {
            name: [(c.id, c.score) for c in hits] for name, hits in results.found.items()
        }
        fused = self.fused(ArmResults(pairs, results.skipped), limit)
        items: dict[str, dict[str, T]] = {name: {} for name in results.found}
        for name, hits in results.found.items():
            for candidate in hits:
                items[name].setdefault(candidate.id, candidate.item)

        def best(hit: FusedHit) -> T:
            counted = (name for name in self.names if self.weights[name] and name in hit.arms)
            return items[min(counted, key=lambda name: hit.arms[name].rank)][hit.id]

        return EnsembleResult([FusedItem(best(hit), hit) for hit in fused], results.skipped)


def named_arms(retrievers: Mapping[str, R] | Sequence[R]) -> dict[str, R]:
    """The retrievers by name; those of a list are called "arm1", "arm2" and so on.

    Raises:
        ConfigurationError: it is neither, a name is not text or blank, or there is none.
    """
    if isinstance(retrievers, Mapping):
        arms = dict(retrievers)
    elif isinstance(retrievers, Sequence) and not isinstance(retrievers, str | bytes):
        arms = {f"arm{position}": retriever for position, retriever in enumerate(retrievers, 1)}
    else:
        msg = f"retrievers is {type(retrievers).__name__}; expected a dict of name to retriever, or a list"
        raise ConfigurationError(msg)
    for name in arms:
        if not isinstance(name, str) or not name.strip():
            msg = f"an arm is named {name!r}; expected text"
            raise ConfigurationError(msg)
    return arms


def native_score(value: object) -> float | None:
    """An arm's score as a Python float, or None.

    Raises:
        InputTypeError: it is neither a number nor None.
        InputError: it is not finite.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        msg = f"a score is {type(value).__name__}; expected a number or None"
        raise InputTypeError(msg)
    if not math.isfinite(value):
        msg = f"a score is {float(value)}; expected a finite number or None"
        raise InputError(msg)
    return float(value)


def _named(weights: object, names: Sequence[str]) -> Mapping[str, float] | None:
    """The weights by name. A mapping, None and anything unfit is left to `check_weights`."""
    if not isinstance(weights, Sequence) or isinstance(weights, str | bytes):
        return weights  # type: ignore[return-value]
    if len(weights) != len(names):
        msg = f"{len(weights)} weights for {len(names)} arms; expected one for each"
        raise ConfigurationError(msg)
    return dict(zip(names, weights, strict=True))
