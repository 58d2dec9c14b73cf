"""Vectors on disk, so that no text is paid for twice: SQLite in WAL mode, one transaction for each request."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from limiar.embeddings.protocol import FloatArray
from limiar.errors import VectorCacheError
from limiar.sqlite_file import SqliteFile

_VERSION = 1
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
        self._file = SqliteFile(
            path,
            what="cache of vectors",
            application="limv",
            version=_VERSION,
            schema=_SCHEMA,
            error=VectorCacheError,
            on_open=self._find_space,
        )
        self.path = self._file.path
        self._named = (model, dimensions, server)
        self._space = 0

    def get(self, texts: Sequence[str]) -> dict[str, FloatArray]:
        """The vectors of those of the texts that are known, float32."""
        keys = {_key(text): text for text in texts}
        found: dict[str, FloatArray] = {}
        waiting = list(keys)
        with self._file.opened("read") as connection:
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
        with self._file.writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", [(self._space, *row) for row in rows]
            )

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        self._file.close()

    def _find_space(self, connection: sqlite3.Connection) -> None:
        where = "model = ? AND dimensions IS ? AND server = ?"
        row = connection.execute(f"SELECT id FROM spaces WHERE {where}", self._named).fetchone()  # noqa: S608
        if row is None:
            insert = "INSERT INTO spaces (model, dimensions, server) VALUES (?, ?, ?)"
            row = (connection.execute(insert, self._named).lastrowid,)
        self._space = int(row[0])


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8")).digest()
