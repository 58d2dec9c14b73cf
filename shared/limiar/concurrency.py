"""The package's own bounded thread pool: nothing blocks an event loop, and no call starts a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

MAX_WORKERS = max(2, min(8, os.cpu_count() or 1))

P = ParamSpec("P")
T = TypeVar("T")

_lock = threading.Lock()
_executor: ThreadPoolExecutor | None = None


def executor() -> ThreadPoolExecutor:
    """The process-wide pool of at most `MAX_WORKERS` threads, made at its first use."""
    global _executor  # noqa: PLW0603
    with _lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(MAX_WORKERS, thread_name_prefix="limiar")
        return _executor


async def run_in_pool(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Await `function(*args, **kwargs)` run in the pool, with the caller's context variables."""
    context = contextvars.copy_context()
    call = functools.partial(context.run, functools.partial(function, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(executor(), call)


def _forget_executor() -> None:
    """A forked child has none of its parent's threads: start afresh there."""
    global _executor, _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _executor = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_executor)
