"""What an encoder is: any object of this shape, without inheriting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

Progress = Callable[[int, int], None]
"""Called with the number of texts done and the number of all."""


class Encoder(Protocol):
    """Turns queries and documents into vectors of one length.

    Encoders that have something to load bring a `warm_up()` as well.
    """

    @property
    def model_id(self) -> str:
        """A name for the vectors: where two encoders have the same, either may read what the other wrote."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of every vector. An encoder that learns it from its model loads that here."""
        ...

    def embed_query(self, text: str) -> FloatArray:
        """The vector of a query: float32 (dimensions,)."""
        ...

    def embed_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> FloatArray:
        """The vector of each document, in order: float32 (len(texts), dimensions)."""
        ...
