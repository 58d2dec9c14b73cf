"""Checks of the numbers that first stages and fusion share."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from limiar.errors import ConfigurationError


def check_count(name: str, value: object) -> int:
    """`value` itself, if it is a whole number of at least 1; else `ConfigurationError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        msg = f"{name}={value!r}; expected a whole number of at least 1"
        raise ConfigurationError(msg)
    return value


def check_weights(
    what: str, weights: object, known: Collection[str], defaults: Mapping[str, float] | None = None
) -> dict[str, float]:
    """One weight for each of `known`, in its order: those of `weights` over `defaults` (1.0 where there are none).

    Args:
        what: what is weighted, for messages: "arm", "field".
        weights: name to weight, or None.
        known: the names that there are.
        defaults: the weights of names that `weights` does not give.

    Raises:
        ConfigurationError: not a mapping, an unknown name, a weight that is not a finite number >= 0, or all are zero.
    """
    if weights is not None and not isinstance(weights, Mapping):
        msg = f"the {what} weights are {type(weights).__name__}; expected a mapping of {what} names to numbers"
        raise ConfigurationError(msg)
    given = weights or {}
    unknown = sorted(str(name) for name in given if name not in known)
    if unknown:
        msg = f"unknown {what} in the weights: {', '.join(unknown)}; the {what}s are: {', '.join(known)}"
        raise ConfigurationError(msg)
    for name, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0.0 <= weight < math.inf:
            msg = f"the weight of {what} {name!r} is {weight!r}; expected a finite number of at least 0"
            raise ConfigurationError(msg)
    complete = {name: float(given.get(name, (defaults or {}).get(name, 1.0))) for name in known}
    if complete and not any(complete.values()):
        msg = f"every {what} weight is 0; at least one must be above 0"
        raise ConfigurationError(msg)
    return complete
