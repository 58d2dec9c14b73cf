"""Many threads that write a little each, in few transactions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class _Item(Generic[T]):
    """What a thread handed in. Its gate opens when it is written, or when its thread is to write for all."""

    __slots__ = ("error", "gate", "settled", "value")

    def __init__(self, value: T) -> None:
        self.value = value
        self.gate = threading.Lock()
        self.gate.acquire()
        self.settled = False
        self.error: BaseException | None = None


class GroupCommit(Generic[T]):
    """Writes what threads hand in: one of them writes for all that wait, then passes the task on.

    Each waits at a gate of its own. At one lock for all they would wake one after the other, each waiting for its turn.

    Args:
        write: writes some values in one transaction, or none of them.
    """

    def __init__(self, write: Callable[[Sequence[T]], None]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._waiting: list[_Item[T]] = []
        self._busy = False

    def put(self, value: T) -> None:
        """Write a value: it is written when this returns.

        Raises:
            Exception: what `write` raised for it and those written with it.
        """
        item = _Item(value)
        with self._lock:
            self._waiting.append(item)
            first = not self._busy
            self._busy = True
        if not first:
            self._pass(item)
        if not item.settled:
            self._write_all()
        if item.error is not None:
            raise item.error

    def _pass(self, item: _Item[T]) -> None:
        """Wait at the gate; after Ctrl-C too, for the others may depend on this thread's turn."""
        try:
            item.gate.acquire()
        except BaseException:
            item.gate.acquire()
            if not item.settled:
                self._write_all()
            raise

    def _write_all(self) -> None:
        with self._lock:
            some, self._waiting = self._waiting, []
        error: BaseException | None = None
        try:
            self._write([item.value for item in some])
        except BaseException as raised:
            error = raised
        with self._lock:
            following = self._waiting[0] if self._waiting else None
            self._busy = following is not None
        for item in some:
            item.settled, item.error = True, error
            item.gate.release()
        if following is not None:
            following.gate.release()
