"""The documents of a `HybridIndex`, and the vectors of their texts: one SQLite file, the truth that the arms follow.

Every version of a document has a key, a number that is never used again; the arms know keys only. `trash` holds the
keys that an arm may hold and no document has: those of a write under way, and those that a write replaced or deleted.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import numbers
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from limiar.embeddings.protocol import FloatArray
from limiar.errors import InputError, InputTypeError, StoreDamagedError, StoreWriteError

_BUSY_SECONDS = 60.0
_MARK = "$limiar."
_DATE, _DATETIME = f"{_MARK}date", f"{_MARK}datetime"
_SCHEMA = """
CREATE TABLE documents (
    key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, fields BLOB NOT NULL, generated BLOB NOT NULL,
    metadata BLOB NOT NULL, digest BLOB NOT NULL
);
CREATE TABLE embedded (
    key INTEGER NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (key, name)
) WITHOUT ROWID;
CREATE INDEX embedded_by_digest ON embedded (digest);
CREATE TABLE vectors (digest BLOB PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE trash (key INTEGER PRIMARY KEY);
CREATE TABLE state (next_key INTEGER NOT NULL, revision INTEGER NOT NULL);
INSERT INTO state VALUES (1, 0);
"""


@dataclass(frozen=True)
class StoredDocument:
    """A document as it was given.

    Attributes:
        id: its id.
        fields: its original texts by field name, to the character.
        metadata: as given; tuples and sets come back as lists.
        generated: texts that were made from it, by field name: searched, never returned as its text.
    """

    id: str
    fields: Mapping[str, str]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    generated: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The field "text"."""
        return self.fields.get("text", "")


@dataclass(frozen=True)
class Record:
    """A document ready to be stored.

    Attributes:
        document: itself.
        metadata: the same as JSON.
        digest: of its fields and metadata, not of what is generated.
        texts: by name of vector, the text to embed.
    """

    document: StoredDocument
    metadata: bytes
    digest: bytes
    texts: Mapping[str, str]


class DocumentStore:
    """One writer, any number of readers; threads may share it.

    Args:
        path: the SQLite file.
        read_only: never write, also not the files beside it.

    Raises:
        StoreDamagedError: the file is no such store or cannot be read.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        self._read_only = read_only
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._process = 0
        if not path.is_file():
            msg = f"{path} is missing; restore it from a backup, or rebuild the index"
            raise StoreDamagedError(msg)
        with self._read() as connection:
            connection.execute("SELECT next_key, revision FROM state").fetchone()

    @classmethod
    def create(cls, path: Path) -> DocumentStore:
        """An empty store in a new file.

        Raises:
            StoreWriteError: it cannot be written.
        """
        try:
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            msg = f"{path} cannot be written ({error})"
            raise StoreWriteError(msg) from error
        return cls(path, read_only=False)

    # Reading

    def fetch(self, keys: Iterable[int]) -> dict[int, StoredDocument]:
        """The documents that have these keys now."""
        query = (
            "SELECT key, id, fields, generated, metadata FROM documents WHERE key IN (SELECT value FROM json_each(?))"
        )
        with self._read() as connection:
            rows = connection.execute(query, [json.dumps(list(keys))]).fetchall()
        return {key: _document(*row) for key, *row in rows}

    def get(self, ids: Sequence[str]) -> dict[str, StoredDocument]:
        """The documents that have these ids."""
        query = "SELECT id, fields, generated, metadata FROM documents WHERE id = ?"
        with self._read() as connection:
            rows = [connection.execute(query, [identity]).fetchone() for identity in ids]
        return {row[0]: _document(*row) for row in rows if row is not None}

    def versions(self, ids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
        """By id, the key and the digest of the documents that are there."""
        query = "SELECT id, key, digest FROM documents WHERE id = ?"
        with self._read() as connection:
            rows = [connection.execute(query, [identity]).fetchone() for identity in ids]
        return {row[0]: (row[1], row[2]) for row in rows if row is not None}

    def ids(self) -> list[str]:
        """Every id, in the order in which the present versions were added."""
        with self._read() as connection:
            return [row[0] for row in connection.execute("SELECT id FROM documents ORDER BY key")]

    def keys(self) -> list[int]:
        """Every key, ascending."""
        with self._read() as connection:
            return [row[0] for row in connection.execute("SELECT key FROM documents ORDER BY key")]

    def embedded_keys(self, name: str) -> list[int]:
        """The keys of the documents that have a vector of this name, ascending."""
        with self._read() as connection:
            rows = connection.execute("SELECT key FROM embedded WHERE name = ? ORDER BY key", [name])
            return [row[0] for row in rows]

    def embedded_vectors(self, name: str, keys: Sequence[int]) -> FloatArray:
        """The vectors of this name that the documents with these keys have, in order; float32 (len(keys), dimensions).

        Raises:
            StoreDamagedError: one is not there.
        """
        query = "SELECT vector FROM embedded JOIN vectors USING (digest) WHERE key = ? AND name = ?"
        with self._read() as connection:
            rows = [connection.execute(query, [key, name]).fetchone() for key in keys]
            return np.stack([np.frombuffer(_found(row), "<f4") for row in rows]).astype(np.float32)

    def count(self) -> int:
        """How many documents there are."""
        return self._number("SELECT count(*) FROM documents")

    def revision(self) -> int:
        """Grows with every change that readers should see."""
        return self._number("SELECT revision FROM state")

    def trash(self) -> list[int]:
        """The keys that no document has and that an arm may hold."""
        with self._read() as connection:
            return [row[0] for row in connection.execute("SELECT key FROM trash ORDER BY key")]

    def vectors(self, digests: Iterable[bytes]) -> dict[bytes, FloatArray]:
        """The vectors of those of the texts that are known, by digest; float32."""
        found: dict[bytes, FloatArray] = {}
        with self._read() as connection:
            for digest in digests:
                row = connection.execute("SELECT vector FROM vectors WHERE digest = ?", [digest]).fetchone()
                if row is not None:
                    found[digest] = np.frombuffer(row[0], "<f4").astype(np.float32)
        return found

    def check(self) -> None:
        """Let SQLite check the whole file.

        Raises:
            StoreDamagedError: it finds an error.
        """
        with self._read() as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            msg = f"{self.path} is damaged ({found}); restore it from a backup, or rebuild the index"
            raise StoreDamagedError(msg)

    # Writing

    def keep_vectors(self, vectors: Mapping[bytes, FloatArray]) -> None:
        """Keep vectors by the digest of their text, also if the documents are never stored."""
        rows = [(digest, vector.astype("<f4").tobytes()) for digest, vector in vectors.items()]
        with self._write() as connection:
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    def reserve(self, count: int) -> range:
        """New keys, which count as trash until `switch` gives them to documents."""
        with self._write() as connection:
            (first,) = connection.execute("SELECT next_key FROM state").fetchone()
            keys = range(first, first + count)
            connection.execute("UPDATE state SET next_key = ?", [keys.stop])
            connection.executemany("INSERT INTO trash VALUES (?)", [(key,) for key in keys])
        return keys

    def switch(self, records: Mapping[int, Record]) -> list[int]:
        """Make these the documents of their ids, by key; returns the keys that they had before, which become trash."""
        with self._write() as connection:
            gone = self._remove(connection, [record.document.id for record in records.values()])
            connection.executemany(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (
                        key,
                        it.document.id,
                        _json(dict(it.document.fields)),
                        _json(dict(it.document.generated)),
                        it.metadata,
                        it.digest,
                    )
                    for key, it in records.items()
                ],
            )
            connection.executemany(
                "INSERT INTO embedded VALUES (?, ?, ?)",
                [(key, name, text_digest(text)) for key, it in records.items() for name, text in it.texts.items()],
            )
            connection.executemany("DELETE FROM trash WHERE key = ?", [(key,) for key in records])
            _forget_vectors(connection, gone)
            connection.execute("UPDATE state SET revision = revision + 1")
        return gone

    def delete(self, ids: Sequence[str]) -> list[int]:
        """Delete documents by id; returns the keys that they had, which become trash."""
        with self._write() as connection:
            gone = self._remove(connection, ids)
            _forget_vectors(connection, gone)
            connection.execute("UPDATE state SET revision = revision + 1")
        return gone

    def empty_trash(self, keys: Iterable[int]) -> None:
        """Forget keys that no arm holds any more."""
        with self._write() as connection:
            connection.executemany("DELETE FROM trash WHERE key = ?", [(key,) for key in keys])

    def drop_unused_vectors(self) -> int:
        """Delete the vectors of texts that no document has; returns how many."""
        with self._write() as connection:
            unused = "DELETE FROM vectors WHERE digest NOT IN (SELECT digest FROM embedded)"
            return connection.execute(unused).rowcount

    def touch(self) -> None:
        """Let readers see that an arm was mended."""
        with self._write() as connection:
            connection.execute("UPDATE state SET revision = revision + 1")

    def close(self) -> None:
        """Close the file. May be called twice."""
        with self._writing, self._reading:
            mine = self._process == os.getpid()
            for connection in (self._writer, self._reader):
                if connection is not None and mine:
                    connection.close()
            self._writer = self._reader = None

    def _number(self, query: str) -> int:
        with self._read() as connection:
            return int(connection.execute(query).fetchone()[0])

    def _remove(self, connection: sqlite3.Connection, ids: Sequence[str]) -> list[int]:
        gone: list[int] = []
        for identity in ids:
            row = connection.execute("SELECT key FROM documents WHERE id = ?", [identity]).fetchone()
            if row is not None:
                gone.append(row[0])
        connection.executemany("DELETE FROM documents WHERE key = ?", [(key,) for key in gone])
        connection.executemany("INSERT OR IGNORE INTO trash VALUES (?)", [(key,) for key in gone])
        return gone

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with self._reading:
            self._forget_connections_of_parent()
            try:
                if self._reader is None:
                    self._reader = _connected(self.path, read_only=self._read_only)
                yield self._reader
            except (sqlite3.Error, OSError, ValueError) as error:
                msg = f"{self.path} cannot be read ({error}); restore it from a backup, or rebuild the index"
                raise StoreDamagedError(msg) from error

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it on disk when it ends, or nothing."""
        with self._writing:
            self._forget_connections_of_parent()
            try:
                if self._writer is None:
                    self._writer = _connected(self.path, read_only=False)
                with _transaction(self._writer):
                    yield self._writer
            except (sqlite3.Error, OSError) as error:
                msg = f"{self.path} cannot be written ({error}); what was committed before is kept"
                raise StoreWriteError(msg) from error

    def _forget_connections_of_parent(self) -> None:
        """A forked child must not use its parent's connections."""
        if self._process != os.getpid():
            self._writer = self._reader = None
            self._process = os.getpid()


def make_record(document: StoredDocument, texts: Mapping[str, str], where: str) -> Record:
    """The document with its metadata as JSON and its digest.

    Raises:
        InputTypeError: metadata hold something that would not come back.
        InputError: they hold a number that is not finite, or are nested too deeply.
    """
    try:
        metadata = _json(_plain(document.metadata))
    except TypeError as error:
        msg = (
            f"the metadata of {where} cannot be kept ({error}); expected text, numbers, dates, None, lists, and "
            "mappings with text keys"
        )
        raise InputTypeError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"the metadata of {where} cannot be kept: a number is not finite or too long, or they nest too deeply"
        raise InputError(msg) from error
    digest = hashlib.sha256(_json(dict(document.fields)) + b"\0" + metadata).digest()
    return Record(document, metadata, digest, texts)


def text_digest(text: str) -> bytes:
    """What a text's vector is kept by."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _plain(value: object) -> object:
    """The same in what JSON has; dates as a mapping that `_revived` knows again."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dt.datetime):
        return {_DATETIME: value.isoformat()}
    if isinstance(value, dt.date):
        return {_DATE: value.isoformat()}
    if isinstance(value, Mapping):
        return {_escaped(key): _plain(one) for key, one in value.items()}
    if isinstance(value, set | frozenset):
        return [_plain(one) for one in sorted(value, key=repr)]
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real) and float(value) == value:
        return float(value)
    msg = f"a value is {type(value).__name__}"
    raise TypeError(msg)


def _escaped(key: object) -> str:
    if not isinstance(key, str):
        msg = f"a key is {type(key).__name__}"
        raise TypeError(msg)
    return _MARK + key if key.startswith(_MARK) else key


def _revived(value: dict[str, Any]) -> object:
    if _DATETIME in value:
        return dt.datetime.fromisoformat(value[_DATETIME])
    if _DATE in value:
        return dt.date.fromisoformat(value[_DATE])
    return {key.removeprefix(_MARK): one for key, one in value.items()}


def _document(identity: str, fields: bytes, generated: bytes, metadata: bytes) -> StoredDocument:
    return StoredDocument(
        identity, json.loads(fields), json.loads(metadata, object_hook=_revived), json.loads(generated)
    )


def _json(value: object) -> bytes:
    """As bytes, in which two lone surrogates stay two: escaped, they would come back as one character."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass")


def _found(row: Any) -> bytes:
    if row is None:
        msg = "a vector is missing"
        raise ValueError(msg)
    return bytes(row[0])


def _forget_vectors(connection: sqlite3.Connection, keys: Sequence[int]) -> None:
    """Remove the vectors of these keys, and from the file those that no other document has."""
    for key in keys:
        rows = connection.execute("SELECT digest FROM embedded WHERE key = ?", [key]).fetchall()
        connection.execute("DELETE FROM embedded WHERE key = ?", [key])
        connection.executemany(
            "DELETE FROM vectors WHERE digest = ?1 AND NOT EXISTS (SELECT 1 FROM embedded WHERE digest = ?1)", rows
        )


def _connected(path: Path, *, read_only: bool) -> sqlite3.Connection:
    if not read_only:
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA synchronous = FULL")
        return connection
    try:
        return _opened(f"{path.absolute().as_uri()}?mode=ro")
    except sqlite3.OperationalError:  # a folder in which SQLite cannot make its files for sharing: nobody writes there
        return _opened(f"{path.absolute().as_uri()}?mode=ro&immutable=1")


def _opened(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk ends it by itself
            connection.execute("ROLLBACK")
        raise
