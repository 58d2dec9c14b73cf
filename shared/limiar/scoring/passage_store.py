"""Passages as the bundled scorer keeps them, and a bounded cache of them by content."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from limiar.scoring.lexical import WordKeys

_OVERHEAD_BYTES = 600


@dataclass(frozen=True)
class PassageWindow:
    """One window of a passage.

    Attributes:
        tokens: int8 (tokens, 384): unit token vectors, each times 127 / its largest component.
        scales: float32 (tokens,): what to multiply a dot product with `tokens` by.
        pooled: float32 (384,): the mean-pooled vector, centred, of length 1.
        words: the content words' keys.
    """

    tokens: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    pooled: npt.NDArray[np.float32]
    words: WordKeys

    @property
    def n_bytes(self) -> int:
        return self.tokens.nbytes + self.scales.nbytes + self.pooled.nbytes + self.words.nbytes + _OVERHEAD_BYTES


@dataclass(frozen=True)
class StoredPassage:
    """A passage's windows; `truncated` if it has more text than windows."""

    windows: tuple[PassageWindow, ...]
    truncated: bool

    @property
    def n_bytes(self) -> int:
        return sum(window.n_bytes for window in self.windows)


def quantised(vectors: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Rows as int8 with one float32 scale each; a row's dot products keep three digits."""
    scales = np.maximum(np.abs(vectors).max(axis=1), 1e-12) / np.float32(127)
    return np.rint(vectors / scales[:, None]).astype(np.int8), scales.astype(np.float32)


def content_key(text: str) -> bytes:
    """The key of a text: BLAKE2b of its code points, 16 bytes."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class PassageCache:
    """The passages seen last, within `max_bytes`. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._passages: OrderedDict[bytes, StoredPassage] = OrderedDict()
        self._n_bytes = 0

    @property
    def n_bytes(self) -> int:
        """Bytes held now; never above `max_bytes`."""
        return self._n_bytes

    def __len__(self) -> int:
        return len(self._passages)

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, StoredPassage]:
        """Those of `keys` that are held; each counts as just used."""
        with self._lock:
            held = {key: self._passages[key] for key in keys if key in self._passages}
            for key in held:
                self._passages.move_to_end(key)
            return held

    def put(self, key: bytes, passage: StoredPassage) -> None:
        if passage.n_bytes > self.max_bytes:
            return
        with self._lock:
            old = self._passages.pop(key, None)
            self._n_bytes += passage.n_bytes - (old.n_bytes if old else 0)
            self._passages[key] = passage
            while self._n_bytes > self.max_bytes:
                _, evicted = self._passages.popitem(last=False)
                self._n_bytes -= evicted.n_bytes

    def clear(self) -> None:
        with self._lock:
            self._passages.clear()
            self._n_bytes = 0
