"""Vectors on disk, so that no text is paid for twice: SQLite in WAL mode, one transaction for each request."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from limiar.embeddings.protocol import FloatArray
from limiar.errors import VectorCacheError

_APPLICATION = 0x6C696D76  # "limv"
_VERSION = 1
_BUSY_SECONDS = 60.0
_KEYS_PER_QUERY = 500
_SCHEMA = (
    "CREATE TABLE spaces (id INTEGER PRIMARY KEY, model TEXT NOT NULL, dimensions INTEGER, server TEXT NOT NULL)",
    """
    CREATE TABLE vectors (
        space INTEGER NOT NULL, text BLOB NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (space, text)
    ) WITHOUT ROWID
    """,
)


class VectorCache:
    """The vectors of one model at one server, in a file that holds those of others as well.

    A text is known by its SHA-256 and never written. Several processes may use one file at once. What `put` wrote
    survives a kill of the process.

    Args:
        path: the file; made, with its folder, at the first use.
        model: the model's name.
        dimensions: those asked for; None for the model's own.
        server: the server's address, without credentials.

    Raises:
        VectorCacheError: in each method, the file cannot be opened, read or written, or is not such a cache.
    """

    def __init__(self, path: str | Path, model: str, dimensions: int | None, server: str) -> None:
        self.path = Path(path).expanduser()
        self._named = (model, dimensions, server)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._space = 0

    def get(self, texts: Sequence[str]) -> dict[str, FloatArray]:
        """The vectors of those of the texts that are known, float32."""
        keys = {_key(text): text for text in texts}
        found: dict[str, FloatArray] = {}
        waiting = list(keys)
        with self._opened("read") as connection:
            for start in range(0, len(waiting), _KEYS_PER_QUERY):
                some = waiting[start : start + _KEYS_PER_QUERY]
                marks = ",".join("?" * len(some))
                query = f"SELECT text, vector FROM vectors WHERE space = ? AND text IN ({marks})"  # noqa: S608
                for key, blob in connection.execute(query, [self._space, *some]):
                    if len(blob) % 4 == 0 and blob:
                        found[keys[key]] = np.frombuffer(blob, "<f4").astype(np.float32)
        return found

    def put(self, vectors: Mapping[str, FloatArray]) -> None:
        """Keep the vectors of some texts: all of them, on disk, when this returns."""
        rows = [(_key(text), vector.astype("<f4").tobytes()) for text, vector in vectors.items()]
        with self._opened("written") as connection, _transaction(connection):
            connection.executemany(
                "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", [(self._space, *row) for row in rows]
            )

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    @contextmanager
    def _opened(self, doing: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None or self._process != os.getpid():
                    self._connection = self._open()
                    self._process = os.getpid()
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                msg = f"the cache of vectors {self.path} cannot be {doing}: {error}"
                raise VectorCacheError(msg) from error

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            with _transaction(connection):
                self._check(connection)
                self._space = self._find_space(connection)
            with suppress(sqlite3.OperationalError):  # another process opens it just now: the next one will do it
                connection.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        """Make the tables in an empty file; refuse a file of another kind or of a later version."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not (application or version or tables):
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        elif application != _APPLICATION:
            msg = f"{self.path} is a database of another kind, not a cache of vectors; choose another file"
            raise VectorCacheError(msg)
        elif version != _VERSION:
            msg = f"{self.path} is a cache of version {version}; this limiar reads {_VERSION}. Choose another file"
            raise VectorCacheError(msg)

    def _find_space(self, connection: sqlite3.Connection) -> int:
        where = "model = ? AND dimensions IS ? AND server = ?"
        row = connection.execute(f"SELECT id FROM spaces WHERE {where}", self._named).fetchone()  # noqa: S608
        if row is not None:
            return int(row[0])
        insert = "INSERT INTO spaces (model, dimensions, server) VALUES (?, ?, ?)"
        return int(connection.execute(insert, self._named).lastrowid or 0)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk ends it by itself
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()
