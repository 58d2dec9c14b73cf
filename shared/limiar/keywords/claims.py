"""Who asks about which document: so that two runs on one store never ask the same."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from limiar.keywords.entries import Recipe
from limiar.keywords.entry_rows import insert_rows, marks, name_documents, pages, recipe_number
from limiar.keywords.store import ExpansionStore

LEASE = 60.0
"""Seconds after which a run that gave no sign of life has lost its claims."""

Standing = Literal["mine", "known", "elsewhere", "beyond"]
"""Of a document: claimed now by this run; has an entry; another run, or this one, is at it; over the number wanted."""


class Claims:
    """The claims of one run. A claim ends with its document's outcome, with `release`, or with the life of the run.

    A run is dead when its process is gone, which is seen at once from the same machine, or when it did not `renew` for
    `LEASE` seconds. Others then take its claims over.

    Args:
        store: the store.
        recipe: what the documents are to be asked with.
        redo: statuses whose entries are asked again if they are older than this run.
    """

    def __init__(self, store: ExpansionStore, recipe: Recipe, redo: Sequence[str]) -> None:
        self._file = store.file
        self._recipe = recipe
        self._redo = tuple(redo)
        self._owner = uuid.uuid4().hex
        self._began = time.time()
        self._host = _host()

    def begin(self) -> None:
        """Be known as alive, and clear away what dead runs left."""
        self.renew()
        with self._file.writing() as connection:
            alive = sorted(self._alive(connection))
            connection.execute(f"DELETE FROM owners WHERE id NOT IN ({marks(alive)})", alive)  # noqa: S608
            connection.execute(f"DELETE FROM claims WHERE owner NOT IN ({marks(alive)})", alive)  # noqa: S608

    def renew(self) -> None:
        """Say that this run is alive."""
        values = (self._owner, self._host, os.getpid(), time.time() + LEASE)
        with self._file.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?)", values)

    def settle(self) -> None:
        """Bring what was committed to the disk itself, so that a power cut takes no more than what came after."""
        with self._file.opened("written") as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def release(self) -> None:
        """End the run: what it claimed and did not finish is free."""
        with self._file.writing() as connection:
            connection.execute("DELETE FROM claims WHERE owner = ?", (self._owner,))
            connection.execute("DELETE FROM owners WHERE id = ?", (self._owner,))

    def claim(self, documents: Sequence[tuple[str, bytes]], most: int) -> list[Standing]:
        """Claim what nobody has asked or is asking, at most `most`, and say how each document stands.

        Args:
            documents: id and `text_key` of each.
            most: claims to make.
        """
        keys = list(dict.fromkeys(key for _, key in documents))
        with self._file.writing() as connection:
            name_documents(connection, documents)
            number = recipe_number(connection, self._recipe, make=True)
            known = self._known(connection, number, keys)
            taken = self._taken(connection, number, keys)
            claims: list[tuple[int, bytes, str]] = []
            standings: list[Standing] = []
            for _, key in documents:
                standing = self._standing(key, known, taken, most)
                if standing == "mine":
                    most -= 1
                    taken.add(key)
                    claims.append((number, key, self._owner))
                standings.append(standing)
            insert_rows(connection, "claims", claims, "ON CONFLICT (recipe, text) DO UPDATE SET owner = excluded.owner")
        return standings

    def missing(self, keys: Sequence[bytes]) -> list[bool]:
        """Which texts have no entry, or one to redo. Claims nothing."""
        with self._file.opened("read") as connection:
            known = self._known(connection, recipe_number(connection, self._recipe), list(dict.fromkeys(keys)))
        return [key not in known for key in keys]

    @staticmethod
    def _standing(key: bytes, known: set[bytes], taken: set[bytes], most: int) -> Standing:
        if key in known:
            return "known"
        if key in taken:
            return "elsewhere"
        return "mine" if most > 0 else "beyond"

    def _known(self, connection: sqlite3.Connection, recipe: int, keys: Sequence[bytes]) -> set[bytes]:
        known: set[bytes] = set()
        for some in pages(keys):
            query = f"SELECT text, status, written FROM entries WHERE recipe = ? AND text IN ({marks(some)})"  # noqa: S608
            for key, status, written in connection.execute(query, [recipe, *some]):
                if status not in self._redo or written >= self._began:
                    known.add(key)
        return known

    def _taken(self, connection: sqlite3.Connection, recipe: int, keys: Sequence[bytes]) -> set[bytes]:
        alive = self._alive(connection)
        taken: set[bytes] = set()
        for some in pages(keys):
            query = f"SELECT text, owner FROM claims WHERE recipe = ? AND text IN ({marks(some)})"  # noqa: S608
            taken.update(key for key, owner in connection.execute(query, [recipe, *some]) if owner in alive)
        return taken

    def _alive(self, connection: sqlite3.Connection) -> set[str]:
        rows = connection.execute("SELECT id, host, pid, expires FROM owners").fetchall()
        now = time.time()
        alive = {owner for owner, host, pid, expires in rows if expires > now and self._lives(host, pid)}
        return alive | {self._owner}

    def _lives(self, host: str, pid: int) -> bool:
        return host != self._host or not _is_gone(pid)


def _is_gone(pid: int) -> bool:
    """Whether no process has this number; where that cannot be asked, the lease decides."""
    if os.name == "nt":  # there, signal 0 is Ctrl-C
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _host() -> str:
    """This machine and its space of process numbers: containers may share a name or a file, but not both spaces."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()} {space}"
