"""A SQLite file of our own kind: made, checked, shared by threads and processes, and never left half written."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from limiar.errors import LimiarError

_BUSY_SECONDS = 60.0


class SqliteFile:
    """One connection for all threads of a process, opened at its first use; other processes may have theirs.

    Args:
        path: the file; made, with its folder, at the first use.
        what: what it is, for messages: "cache of vectors".
        application: four letters that mark the kind of file.
        version: of the schema.
        schema: the statements that make the tables.
        error: the class of error to raise.
        synchronous: "FULL": what was committed survives a power cut; "NORMAL": a kill of the process, and a power cut
            may take the last commits.
        on_open: called with each new connection, in the transaction that checks the file.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        what: str,
        application: str,
        version: int,
        schema: Sequence[str],
        error: type[LimiarError],
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
        on_open: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        self.path = Path(path).expanduser()
        self._what = what
        self._application = int.from_bytes(application.encode("ascii"), "big")
        self._version = version
        self._schema = tuple(schema)
        self._error = error
        self._synchronous = synchronous
        self._on_open = on_open
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0

    @contextmanager
    def opened(self, doing: str) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone. `doing` is "read" or "written", for messages.

        Raises:
            LimiarError: of the class given, for whatever SQLite or the disk refuses.
        """
        with self._lock:
            try:
                if self._connection is None or self._process != os.getpid():
                    self._connection = self._open()
                    self._process = os.getpid()
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                msg = f"the {self._what} {self.path} cannot be {doing}: {error}"
                raise self._error(msg) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection in a transaction, which is committed at the end or, after an error, undone."""
        with self.opened("written") as connection, transaction(connection):
            yield connection

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None)
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            with transaction(connection):
                self._check(connection)
                if self._on_open is not None:
                    self._on_open(connection)
            with suppress(sqlite3.OperationalError):  # another process opens it just now: the next one will do it
                connection.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        """Make the tables in an empty file; refuse a file of another kind or of another version."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not (application or version or tables):
            for statement in self._schema:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {self._application}")
            connection.execute(f"PRAGMA user_version = {self._version}")
        elif application != self._application:
            msg = f"{self.path} is a database of another kind, not a {self._what}; choose another file"
            raise self._error(msg)
        elif version != self._version:
            known = f"this limiar reads {self._version}. Choose another file"
            msg = f"{self.path} is a {self._what} of version {version}; {known}"
            raise self._error(msg)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end, or undo after an error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk ends it by itself
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
