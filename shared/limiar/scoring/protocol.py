"""What a scorer is: any object of this shape, no inheritance needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Literal, Protocol, runtime_checkable

Scale = Literal["logit", "probability"]


@runtime_checkable
class Scorer(Protocol):
    """Scores passages against a query.

    Attributes:
        model_id: the name shown in results, messages and traces.
        scale: "logit" (any real number; the core applies the sigmoid) or "probability" (already in [0, 1]).
    """

    @property
    def model_id(self) -> str: ...

    @property
    def scale(self) -> Scale: ...

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """One number for each text, in the order of `texts`."""
        ...


class Scores(list[float]):
    """Scores that also say which texts the scorer could not read to the end.

    Attributes:
        truncated: positions, in the scored texts, of those that lost text.
    """

    def __init__(self, values: Iterable[float], truncated: Collection[int] = ()) -> None:
        super().__init__(values)
        self.truncated = frozenset(truncated)
