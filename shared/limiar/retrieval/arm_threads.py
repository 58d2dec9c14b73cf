"""The daemon threads that arms run in: kept for the next arm, since what a thread has loaded is costly to make anew."""

from __future__ import annotations

import atexit
import concurrent.futures
import contextvars
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

MAX_ARM_THREADS = 64
MAX_SEARCH_THREADS = 64
MAX_CHAT_THREADS = 64
_IDLE_SECONDS = 60.0
_EXIT_SECONDS = 1.0

T = TypeVar("T")


class ArmThreads:
    """At most `limit` threads. Take a slot, then start: the slot is given back when the function returns.

    Args:
        limit: of slots, and so of threads.
    """

    def __init__(self, limit: int) -> None:
        self._slots = threading.BoundedSemaphore(limit)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: set[Future[None]] = set()

    def take_slot(self, *, timeout: float = 0.0) -> bool:
        """Whether a slot was free within `timeout` seconds."""
        return self._slots.acquire(timeout=timeout) if timeout else self._slots.acquire(blocking=False)

    def start(self, future: Future[T], function: Callable[[], T]) -> None:
        """Settle the future in a thread, with the caller's context variables, and give the slot back."""
        context = contextvars.copy_context()
        done: Future[None] = Future()

        def work() -> None:
            context.run(settle, future, function)

        with self._lock:
            worker = self._idle.pop() if self._idle else None
            self._busy.add(done)
        try:
            if worker is None:
                worker = _Worker(self)
                worker.start()
            worker.jobs.put((work, done))
        except RuntimeError as error:  # the system has no thread left
            future.set_exception(error)
            self._given_back(done)

    def rest(self, worker: _Worker, done: Future[None]) -> None:
        """The worker has finished a job."""
        with self._lock:
            self._idle.append(worker)
        self._given_back(done)

    def may_end(self, worker: _Worker) -> bool:
        """Whether the idle worker may end: no job is on its way."""
        with self._lock:
            if worker not in self._idle:
                return False
            self._idle.remove(worker)
            return True

    def wait(self, timeout: float) -> None:
        """Wait until no function is under way, or `timeout` seconds."""
        with self._lock:
            busy = list(self._busy)
        concurrent.futures.wait(busy, timeout)

    def _given_back(self, done: Future[None]) -> None:
        with self._lock:
            self._busy.discard(done)
        self._slots.release()
        done.set_result(None)


class _Worker(threading.Thread):
    def __init__(self, threads: ArmThreads) -> None:
        super().__init__(name="limiar-arm", daemon=True)
        self.jobs: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]] = queue.SimpleQueue()
        self._threads = threads

    def run(self) -> None:
        while True:
            try:
                work, done = self.jobs.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                if self._threads.may_end(self):
                    return
                continue
            work()
            del work
            self._threads.rest(self, done)


def settle(future: Future[T], function: Callable[[], T]) -> None:
    """Call the function and put what comes of it into the future."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        outcome = function()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(outcome)


def arm_threads() -> ArmThreads:
    """Those of this process."""
    return _threads


def search_threads() -> ArmThreads:
    """Those for whole searches, apart: a search that waits for its arms must not take the threads that they need."""
    return _search_threads


def chat_threads() -> ArmThreads:
    """Those that wait for chat models, apart: a slow server must not take the threads that searches need."""
    return _chat_threads


_threads = ArmThreads(MAX_ARM_THREADS)
_search_threads = ArmThreads(MAX_SEARCH_THREADS)
_chat_threads = ArmThreads(MAX_CHAT_THREADS)


@atexit.register
def _let_arms_return() -> None:
    """Wait a moment: a thread that returns from a C++ library while the interpreter goes away aborts the process."""
    _threads.wait(_EXIT_SECONDS)


def _forget_threads() -> None:
    """A forked child has none of its parent's threads."""
    global _threads, _search_threads, _chat_threads  # noqa: PLW0603
    _threads = ArmThreads(MAX_ARM_THREADS)
    _search_threads = ArmThreads(MAX_SEARCH_THREADS)
    _chat_threads = ArmThreads(MAX_CHAT_THREADS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
