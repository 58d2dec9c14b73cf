"""Vectors by key in Chroma: in a folder of its own or at a server. No text and no metadata goes there."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from limiar.embeddings.protocol import FloatArray
from limiar.errors import (
    ConfigurationError,
    MissingExtraError,
    StoreDamagedError,
    StoreError,
    StoreUnreachableError,
    StoreWriteError,
)
from limiar.servers import http_address

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.collection_configuration import CreateHNSWConfiguration
    from chromadb.api.models.Collection import Collection
    from chromadb.config import Settings

_BATCH = 1000
_GRAPH: CreateHNSWConfiguration = {
    "space": "cosine",
    "ef_construction": 200,
    "ef_search": 1000,
    "max_neighbors": 32,
}
"""Twice Chroma's own effort: with its defaults equal and nearly equal texts hide from one another."""
_HTTP_PORT = 8000
_DATABASE = "chroma.sqlite3"


class ChromaVectors:
    """The vectors of an index, one collection for each name of vector. Threads may share it.

    Args:
        place: a folder, a server's address such as "http://localhost:8000", or a Chroma client of the caller's.
        collections: by name of vector, the collection's name.
        create: make the collections, and the folder, where they are missing.

    Raises:
        StoreUnreachableError: the server does not answer.
        StoreDamagedError: the folder is no Chroma store, or a collection is missing.
        MissingExtraError: chromadb is not installed.
    """

    def __init__(self, place: Path | str | ClientAPI, collections: Mapping[str, str], *, create: bool) -> None:
        self._place = place
        self._names = dict(collections)
        self._gate = _Gate()
        self._client: ClientAPI | None = None
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        self._collections: dict[str, Collection] = {}
        self._open(create=create)

    def put(self, name: str, keys: Sequence[int], vectors: FloatArray) -> None:
        """Store one vector for each key; float32 (len(keys), dimensions).

        Raises:
            StoreWriteError: Chroma refuses, or the disk is full.
            StoreUnreachableError: the server does not answer.
        """
        with self._gate.shared(), self._translated(StoreWriteError, "be written"):
            for start in range(0, len(keys), _BATCH):
                some = slice(start, start + _BATCH)
                self._collections[name].upsert(ids=[str(key) for key in keys[some]], embeddings=vectors[some])

    def remove(self, keys: Sequence[int]) -> None:
        """Delete the vectors of every name that have these keys; keys that are not there are passed over.

        Nobody searches meanwhile: in a folder, Chroma fails to search for what goes away.
        """
        with self._gate.alone(), self._translated(StoreWriteError, "be written"):
            for collection in self._collections.values():
                for start in range(0, len(keys), _BATCH):
                    collection.delete(ids=[str(key) for key in keys[start : start + _BATCH]])

    def keys(self, name: str) -> list[int]:
        """Every key that has a vector of this name."""
        with self._gate.shared(), self._translated(StoreDamagedError, "be read"):
            return [int(key) for key in self._collections[name].get(include=[])["ids"]]

    def vectors(self, name: str, keys: Sequence[int]) -> dict[int, FloatArray]:
        """The vectors of this name that these keys have, perhaps at another length; float32 (dimensions,)."""
        with self._gate.shared(), self._translated(StoreDamagedError, "be read"):
            found = self._collections[name].get(ids=[str(key) for key in keys], include=["embeddings"])
            vectors = found["embeddings"]
            if vectors is None:
                return {}
            return {int(key): np.asarray(vector, np.float32) for key, vector in zip(found["ids"], vectors, strict=True)}

    def nearest(
        self, name: str, vector: FloatArray, k: int, among: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """The keys, as text, whose vectors are nearest to `vector`, nearest first, with the cosine, in [-1, 1].

        The search is approximate (HNSW), except where `among` is short.

        Args:
            name: of the vectors.
            vector: float32 (dimensions,).
            k: at most so many.
            among: only these keys; None for all.

        Raises:
            StoreUnreachableError: the server does not answer.
            StoreDamagedError: Chroma cannot search.
        """
        if among is not None and not among:
            return []
        with self._gate.shared(), self._translated(StoreDamagedError, "be searched"):
            found = self._collections[name].query(
                query_embeddings=vector[None].astype(np.float32),
                ids=None if among is None else list(among),
                n_results=k,
                include=["distances"],
            )
            ids, distances = found["ids"][0], (found["distances"] or [[]])[0]
        return [(key, 1.0 - gap) for key, gap in zip(ids, distances, strict=True) if math.isfinite(gap)]

    def probe(self, name: str) -> None:
        """Search for one of the vectors that are there, if any: Chroma has no check of its files.

        Raises:
            StoreUnreachableError: the server does not answer.
            StoreDamagedError: Chroma cannot search.
        """
        _check_there(self._place)
        with self._gate.shared(), self._translated(StoreDamagedError, "be searched"):
            collection = self._collections[name]
            found = collection.get(limit=1, include=["embeddings"])["embeddings"]
            if found is not None and len(found):
                collection.query(query_embeddings=np.asarray(found), n_results=1, include=["distances"])

    def reopen(self) -> None:
        """See what another process wrote: an open Chroma folder does not notice by itself. A server does."""
        if isinstance(self._place, Path):
            with self._gate.alone():
                self._close()
                self._open(create=False)

    def close(self) -> None:
        """Let go of the folder or of the connection; a client of the caller's stays open. May be called twice."""
        with self._gate.alone():
            self._close()

    def _open(self, *, create: bool) -> None:
        with self._translated(StoreDamagedError, "be opened"):
            try:
                place = self._place
                if isinstance(place, Path) and place.is_dir() and not os.access(place, os.W_OK):
                    self._copy = _writable_copy(place)
                    place = Path(self._copy.name)
                self._client = _client(place, create=create)
                self._collections = {
                    vector: _collection(self._client, name, create=create) for vector, name in self._names.items()
                }
            except BaseException:
                self._close()
                raise

    def _close(self) -> None:
        client, self._client = self._client, None
        self._collections = {}
        if client is not None and isinstance(self._place, Path | str):
            close = getattr(client, "close", None)  # chromadb 1.0 has none
            if close is not None:
                close()
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    @contextlib.contextmanager
    def _translated(self, failure: type[StoreError], doing: str) -> Iterator[None]:
        """Turn what Chroma, its HTTP client and its engine raise into errors of ours."""
        try:
            yield
        except StoreError:
            raise
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            if isinstance(error, ImportError):
                feature = "a dense arm in Chroma"
                raise MissingExtraError(feature, "chroma") from error
            where = self._place if isinstance(self._place, Path) else f"the Chroma server {_shown(self._place)}"
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            if not isinstance(self._place, Path) and _is_connection_failure(error):
                msg = f"{where} does not answer ({reason}); see that it runs, and try again"
                raise StoreUnreachableError(msg) from error
            msg = f"{where} cannot {doing} ({reason})"
            raise failure(msg) from error


class _Gate:
    """Many may pass at once, or one alone, for whom new ones wait."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0
        self._waiting = 0

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._waiting)
            self._inside += 1
        try:
            yield
        finally:
            with self._condition:
                self._inside -= 1
                self._condition.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._condition:
            self._waiting += 1
            self._condition.wait_for(lambda: not self._inside)
            try:
                yield
            finally:
                self._waiting -= 1
                self._condition.notify_all()


def check_place(chroma: object) -> None:
    """Raise `ConfigurationError` unless `chroma` is None, a server's address or something like a client."""
    if chroma is None or (not isinstance(chroma, str) and callable(getattr(chroma, "get_collection", None))):
        return
    if not isinstance(chroma, str):
        msg = f"chroma is {type(chroma).__name__}; expected a server's address, a Chroma client or None"
        raise ConfigurationError(msg)
    address = http_address(chroma)
    if address is None:
        msg = "chroma is no address of a server; expected one such as 'http://localhost:8000'"
        raise ConfigurationError(msg)
    if address.username or address.password:
        msg = "the address in chroma holds credentials, which an index would keep; give a chromadb.HttpClient instead"
        raise ConfigurationError(msg)


def _client(place: Path | str | ClientAPI, *, create: bool) -> ClientAPI:
    if not isinstance(place, Path | str):
        return place
    import chromadb
    from chromadb.config import Settings

    settings: Settings = Settings(anonymized_telemetry=False)
    if isinstance(place, str):
        address = urlsplit(place)
        encrypted = address.scheme == "https"
        port = address.port or (443 if encrypted else _HTTP_PORT)
        return chromadb.HttpClient(host=str(address.hostname), port=port, ssl=encrypted, settings=settings)
    if not create:
        _check_there(place)
    place.mkdir(exist_ok=True)
    try:
        return chromadb.PersistentClient(str(place), settings=settings)
    except BaseException:
        _forget_half_opened(str(place))
        raise


def _check_there(place: object) -> None:
    """Raise `StoreDamagedError` if a folder's database is gone: Chroma would make another, or use what it has open."""
    if isinstance(place, Path) and not (place / _DATABASE).is_file():
        msg = f"{place} is missing; repair() makes it anew"
        raise StoreDamagedError(msg)


def _writable_copy(place: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder with a copy of the database, which Chroma writes to even when it only reads, and links to the rest."""
    copy = tempfile.TemporaryDirectory(prefix="limiar-", ignore_cleanup_errors=True)
    for path in place.resolve().iterdir():
        target = Path(copy.name) / path.name
        if path.is_dir():
            target.symlink_to(path, target_is_directory=True)
        else:
            shutil.copyfile(path, target)
    return copy


def _forget_half_opened(path: str) -> None:
    """Take a folder that Chroma failed to open out of its table of open ones: it would fail in other ways next time."""
    from chromadb.api.shared_system_client import SharedSystemClient

    users: Mapping[str, int] = getattr(SharedSystemClient, "_identifier_to_refcount", {})
    if not users.get(path):
        getattr(SharedSystemClient, "_identifier_to_system", {}).pop(path, None)


def _collection(client: ClientAPI, name: str, *, create: bool) -> Collection:
    if not create:
        return client.get_collection(name, embedding_function=None)
    return client.get_or_create_collection(name, embedding_function=None, configuration={"hnsw": _GRAPH})


def _is_connection_failure(error: BaseException) -> bool:
    """Whether the server could not be reached, or went away: httpx's errors, which Chroma may hide in a ValueError."""
    import httpx

    return isinstance(error, httpx.TransportError | ConnectionError | TimeoutError) or (
        isinstance(error, ValueError) and "could not connect" in str(error).lower()
    )


def _shown(place: object) -> str:
    return place if isinstance(place, str) else f"of the given {type(place).__name__}"
