"""The two arms that a `HybridIndex` writes: BM25 on disk, and vectors in Chroma. Both know documents by key only."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from limiar.errors import (
    StoreDamagedError,
    StoreNotFoundError,
    StoreUnreachableError,
    StoreVersionError,
    StoreWriteError,
)
from limiar.retrieval.bm25 import BM25Index
from limiar.retrieval.chroma import ChromaVectors
from limiar.retrieval.document_store import DocumentStore, Record
from limiar.retrieval.documents import Hit
from limiar.retrieval.index_schema import IndexSchema
from limiar.retrieval.index_vectors import TextVectors
from limiar.text.analyzer import Analyzer

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

    from limiar.embeddings.protocol import FloatArray

Opened = TypeVar("Opened", BM25Index, ChromaVectors)

UNUSABLE = (StoreDamagedError, StoreNotFoundError, StoreUnreachableError, StoreVersionError)
"""An arm that fails like this leaves the index usable by its other arm, and can be mended."""

_BATCH = 1000
_ROUNDING = 1e-3


class IndexArm(Protocol):
    """A part of the index that can be checked and made afresh from the documents."""

    name: str

    def put(self, records: Mapping[int, Record]) -> None:
        """Add documents by key."""
        ...

    def remove(self, keys: Sequence[int]) -> None:
        """Remove keys; those that are not there are passed over."""
        ...

    def differences(self, store: DocumentStore) -> tuple[list[int], list[int]]:
        """The keys that are missing here, and those that no document has."""
        ...

    def check(self) -> None:
        """Raise a `StoreError` unless the arm's files can be read."""
        ...

    def start_afresh(self) -> None:
        """Replace the arm by an empty one."""
        ...

    def close(self) -> None:
        """Free the arm's files."""
        ...


class _Lazy(Generic[Opened]):
    """Opened at its first use; one that cannot be opened is tried again at the next."""

    def __init__(self, opening: Callable[[], Opened]) -> None:
        self._opening: Callable[[], Opened] = opening
        self._lock = threading.Lock()
        self._value: Opened | None = None

    def get(self) -> Opened:
        with self._lock:
            if self._value is None:
                self._value = self._opening()
            return self._value

    def close(self) -> None:
        with self._lock:
            value, self._value = self._value, None
            if value is not None:
                value.close()


class Bm25Arm:
    """The lexical arm.

    Args:
        folder: of the `BM25Index`.
        schema: of the whole index.
        analyzer: for an index that is made afresh.
        read_only: search only.
    """

    name = "bm25"

    def __init__(self, folder: Path, schema: IndexSchema, analyzer: Analyzer, *, read_only: bool) -> None:
        self._folder = folder
        self._schema = schema
        self._analyzer = analyzer
        self._index = _Lazy(lambda: BM25Index.open(folder, read_only=read_only))

    def open(self) -> None:
        """Open it now."""
        self._index.get()

    def search(self, query: str, k: int, where: Mapping[str, Any] | None, weights: Mapping[str, float]) -> list[Hit]:
        """The best `k` keys, as text, by the weights of all fields."""
        return self._index.get().search(query, k, filter=where, weights=weights)

    def matching(self, where: Mapping[str, Any]) -> list[str]:
        """The keys, as text, of the documents that pass the filter."""
        return self._index.get().ids(filter=where)

    def put(self, records: Mapping[int, Record]) -> None:
        self._index.get().add(self._schema.bm25_document(key, it.document) for key, it in records.items())

    def remove(self, keys: Sequence[int]) -> None:
        if keys:
            self._index.get().delete([str(key) for key in keys])

    def differences(self, store: DocumentStore) -> tuple[list[int], list[int]]:
        return _differences(store.keys(), [int(key) for key in self._index.get().ids()])

    def check(self) -> None:
        self._index.get().verify()

    def start_afresh(self) -> None:
        self._index.close()
        _clear_away(self._folder)
        BM25Index.create(self._folder, fields=self._schema.bm25_fields, analyzer=self._analyzer).close()

    def close(self) -> None:
        self._index.close()


class DenseArm:
    """The dense arm.

    Args:
        place: see `ChromaVectors`.
        collections: by name of vector, the collection.
        vectors: makes or finds the vectors of texts.
    """

    name = "dense"

    def __init__(self, place: Path | str | ClientAPI, collections: Mapping[str, str], vectors: TextVectors) -> None:
        self._place = place
        self._collections = dict(collections)
        self._vectors = vectors
        self._chroma = _Lazy(lambda: ChromaVectors(place, collections, create=False))

    def open(self) -> None:
        """Open it now."""
        self._chroma.get()

    def nearest(
        self, name: str, vector: FloatArray, k: int, among: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """The `k` nearest keys, as text, with their cosines."""
        return self._chroma.get().nearest(name, vector, k, among)

    def reopen(self) -> None:
        """See what another process wrote."""
        self._chroma.get().reopen()

    def put(self, records: Mapping[int, Record]) -> None:
        for name in self._collections:
            texts = {key: it.texts[name] for key, it in records.items() if name in it.texts}
            if texts:
                vectors = self._vectors.of(list(texts.values()))
                with self._afresh_on_failure():
                    self._chroma.get().put(name, list(texts), vectors)

    def remove(self, keys: Sequence[int]) -> None:
        if keys:
            with self._afresh_on_failure():
                self._chroma.get().remove(keys)

    @contextlib.contextmanager
    def _afresh_on_failure(self) -> Iterator[None]:
        """Open Chroma anew after a failed write: on a full disk it may hang at the next call."""
        try:
            yield
        except StoreWriteError:
            self._chroma.close()
            raise

    def differences(self, store: DocumentStore) -> tuple[list[int], list[int]]:
        missing: dict[int, None] = {}
        extra: dict[int, None] = {}
        for name in self._collections:
            expected, found = store.embedded_keys(name), self._chroma.get().keys(name)
            lacking, foreign = _differences(expected, found)
            missing.update(dict.fromkeys(lacking))
            extra.update(dict.fromkeys(foreign))
            self._compare(store, name, sorted({*expected} & {*found}))
        return sorted(missing), sorted(extra)

    def _compare(self, store: DocumentStore, name: str, keys: Sequence[int]) -> None:
        """Raise `StoreDamagedError` if a vector is not the store's: a graph built over it would not heal by a new one.

        Chroma may give vectors another length.
        """
        altered = 0
        for start in range(0, len(keys), _BATCH):
            some = keys[start : start + _BATCH]
            there = self._chroma.get().vectors(name, some)
            kept = zip(some, store.embedded_vectors(name, some), strict=True)
            altered += sum(key not in there or not _same_direction(there[key], vector) for key, vector in kept)
        if altered:
            msg = f"{altered} vectors in Chroma are not those of the documents; repair() makes them anew"
            raise StoreDamagedError(msg)

    def check(self) -> None:
        """Search once: Chroma has no check of its files."""
        chroma = self._chroma.get()
        for name in self._collections:
            chroma.probe(name)

    def start_afresh(self) -> None:
        self._chroma.close()
        if isinstance(self._place, Path):
            _clear_away(self._place)
        ChromaVectors(self._place, self._collections, create=True).close()

    def close(self) -> None:
        self._chroma.close()


def _differences(expected: Sequence[int], found: Sequence[int]) -> tuple[list[int], list[int]]:
    return sorted(set(expected).difference(found)), sorted(set(found).difference(expected))


def _same_direction(one: FloatArray, other: FloatArray) -> bool:
    return one.shape == other.shape and bool(np.allclose(_unit(one), _unit(other), rtol=0.0, atol=_ROUNDING))


def _unit(vector: FloatArray) -> FloatArray:
    length = np.linalg.norm(vector)
    return np.asarray(vector / length if length else vector, np.float32)


def _clear_away(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
