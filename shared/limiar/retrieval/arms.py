"""Several first stages asked at once: in parallel, each within a time limit, and one failing need not fail all."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, get_args

from limiar.errors import ArmError, ConfigurationError
from limiar.retrieval.arm_threads import ArmThreads, arm_threads, search_threads, settle
from limiar.selection import check_choice

logger = logging.getLogger("limiar")

OnArmError = Literal["raise", "skip"]
ON_ARM_ERROR_POLICIES: tuple[str, ...] = get_args(OnArmError)

T = TypeVar("T")


@dataclass(frozen=True)
class ArmResults(Generic[T]):
    """What the arms returned.

    Attributes:
        found: by arm name, in the order of the arms; a skipped arm is absent.
        skipped: by arm name, why it was left out.
    """

    found: dict[str, T]
    skipped: dict[str, str]


def run_arms(
    arms: Mapping[str, Callable[[], T]],
    *,
    timeout: float | None = None,
    on_error: OnArmError = "raise",
    threads: ArmThreads | None = None,
) -> ArmResults[T]:
    """Call all arms at once and wait for them.

    Each arm runs in a daemon thread, with the caller's context variables; the process has at most
    `MAX_ARM_THREADS` of them. They are apart from the package's pool, and where none is free an arm without a time
    limit runs in the calling thread: arms that ask arms in turn cannot lock each other out.

    A thread cannot be stopped. One whose arm is late, or whose sibling failed under "raise", works on until the arm
    returns; what it returns is discarded, it counts against `MAX_ARM_THREADS` until then, and being a daemon it holds
    up the end of the program for a second at most. Give the arms' own clients a timeout as well.

    Args:
        arms: name to callable; at least one.
        timeout: seconds that each arm may take, counted from the call; None for no limit.
        on_error: "raise" at the first arm that fails or is late, or "skip" it.
        threads: where they run; None for `arm_threads()`. Arms that ask arms in turn need others than those.

    Raises:
        ArmError: an arm failed or was late and `on_error="raise"`, or no arm is left.
        ConfigurationError: there is no arm, or a parameter is out of range.

    Example:
        >>> results = run_arms({"bm25": lambda: ["a"], "dense": lambda: 1 / 0}, on_error="skip")
        >>> results.found, results.skipped
        ({'bm25': ['a']}, {'dense': 'ZeroDivisionError: division by zero'})
    """
    check_arm_options(arms, timeout, on_error)
    deadline = None if timeout is None else time.monotonic() + timeout
    threads = arm_threads() if threads is None else threads
    futures: dict[str, Future[T]] = {}
    for name, arm in arms.items():
        futures[name] = Future()
        if deadline is None and not threads.take_slot():
            settle(futures[name], arm)
        elif deadline is None or threads.take_slot(timeout=max(0.0, deadline - time.monotonic())):
            threads.start(futures[name], arm)
    until = concurrent.futures.FIRST_EXCEPTION if on_error == "raise" else concurrent.futures.ALL_COMPLETED
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    concurrent.futures.wait(futures.values(), timeout=left, return_when=until)
    errors = {name: future.exception() for name, future in futures.items() if future.done()}
    late = [name for name in arms if name not in errors]
    return _collected({n: futures[n].result() for n, e in errors.items() if e is None}, errors, late, timeout, on_error)


async def arun_arms(
    arms: Mapping[str, Callable[[], Awaitable[T]]], *, timeout: float | None = None, on_error: OnArmError = "raise"
) -> ArmResults[T]:
    """`run_arms` for coroutine functions: one task for each, on the running loop.

    A late task is cancelled, and so are the others when one fails under "raise" or the caller is cancelled. Nobody
    waits for them to notice.
    """
    check_arm_options(arms, timeout, on_error)
    tasks = {name: asyncio.ensure_future(_awaited(arm)) for name, arm in arms.items()}
    until = asyncio.FIRST_EXCEPTION if on_error == "raise" else asyncio.ALL_COMPLETED
    try:
        await asyncio.wait(tasks.values(), timeout=timeout, return_when=until)
        done = {name: task for name, task in tasks.items() if task.done()}
    finally:
        for task in tasks.values():
            if not task.done():
                task.add_done_callback(_ignore_outcome)
                task.cancel()
    errors = {
        name: asyncio.CancelledError("cancelled") if task.cancelled() else task.exception()
        for name, task in done.items()
    }
    late = [name for name in arms if name not in done]
    return _collected({n: tasks[n].result() for n, e in errors.items() if e is None}, errors, late, timeout, on_error)


async def in_arm_thread(function: Callable[[], T]) -> T:
    """Await `function()` run in a thread apart from those of `run_arms`, which it may call itself."""
    threads = search_threads()
    while not threads.take_slot():  # noqa: ASYNC110  # a waiting thread would need a thread
        await asyncio.sleep(0.01)
    future: Future[T] = Future()
    threads.start(future, function)
    return await asyncio.wrap_future(future)


def check_arm_options(arms: Mapping[str, object], timeout: object, on_error: object) -> None:
    """Raise `ConfigurationError` unless there is an arm and the other two are what `run_arms` takes."""
    if not arms:
        msg = "there is no arm; expected at least one"
        raise ConfigurationError(msg)
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (number and 0.0 < timeout < math.inf):  # type: ignore[operator]
        msg = f"timeout={timeout!r}; expected a number of seconds above 0, or None"
        raise ConfigurationError(msg)
    check_choice("on_error", on_error, ON_ARM_ERROR_POLICIES)


def _collected(
    found: dict[str, T],
    errors: Mapping[str, BaseException | None],
    late: list[str],
    timeout: float | None,
    on_error: OnArmError,
) -> ArmResults[T]:
    """The results, or the error that the policy asks for."""
    failed: dict[str, BaseException] = {name: error for name, error in errors.items() if error is not None}
    for error in failed.values():
        if not isinstance(error, Exception | asyncio.CancelledError):
            raise error
    if on_error == "raise" and failed:
        name, error = next(iter(failed.items()))
        msg = f"arm {name!r} failed: {_reason(error)}"
        raise ArmError(msg, [name]) from error
    for name in late:
        failed[name] = TimeoutError(f"no answer within {timeout} s")
    if on_error == "raise" and failed:
        msg = f"arm {late[0]!r} is late: no answer within {timeout} s"
        raise ArmError(msg, [late[0]]) from failed[late[0]]
    reasons = {name: _reason(error) for name, error in failed.items()}
    if not found:
        msg = "every arm failed: " + "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise ArmError(msg, list(reasons)) from next(iter(failed.values()))
    for name, error in failed.items():
        logger.warning("arm %s skipped: %s", name, type(error).__name__)
    return ArmResults(found, reasons)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


async def _awaited(arm: Callable[[], Awaitable[T]]) -> T:
    return await arm()


def _ignore_outcome(task: asyncio.Future[T]) -> None:
    """Nobody waits for it: without this, asyncio would report its exception as never retrieved."""
    if not task.cancelled():
        task.exception()
