"""Many threads that write a little each, in few transactions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class GroupCommit(Generic[T]):
    """Writes what threads hand in: one of them writes for all that wait, so that a lock is not passed on for each.

    Args:
        write: writes some items in one transaction, or none of them.
    """

    def __init__(self, write: Callable[[Sequence[T]], None]) -> None:
        self._write = write
        self._queue = threading.Lock()
        self._turn = threading.Lock()
        self._waiting: list[T] = []
        self._handed_in = 0
        self._written = 0

    def put(self, item: T) -> None:
        """Write an item: it is written when this returns.

        Raises:
            Exception: what `write` raised. The item is tried again with the next one.
        """
        with self._queue:
            self._waiting.append(item)
            self._handed_in += 1
            place = self._handed_in
        with self._turn:
            if self._written >= place:
                return
            with self._queue:
                some, self._waiting = self._waiting, []
                last = self._handed_in
            try:
                self._write(some)
            except BaseException:
                with self._queue:
                    self._waiting = some + self._waiting
                raise
            self._written = last
