"""Threads that write together."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from limiar.group_commit import GroupCommit


def test_everything_is_written_once_and_never_by_two_at_a_time() -> None:
    batches: list[list[int]] = []
    alone = threading.Lock()

    def write(some: Sequence[int]) -> None:
        assert alone.acquire(blocking=False)
        time.sleep(0.001)
        batches.append(list(some))
        alone.release()

    group = GroupCommit(write)

    def put(number: int) -> bool:
        group.put(number)
        return any(number in batch for batch in batches)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(put, range(400)))
    assert sorted(number for batch in batches for number in batch) == list(range(400))
    assert len(batches) < 400


def test_a_failure_is_raised_where_it_belongs_and_ends_nothing() -> None:
    written: list[int] = []

    def write(some: Sequence[int]) -> None:
        if any(number % 10 == 3 for number in some):
            raise OSError(28, "full")
        written.extend(some)

    group = GroupCommit(write)
    failed = []

    def put(number: int) -> None:
        try:
            group.put(number)
        except OSError:
            failed.append(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(100)))
    assert sorted(written + failed) == list(range(100))
    with pytest.raises(OSError, match="full"):
        group.put(3)
    group.put(4)
