"""What a server asks to wait."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from limiar.rate_limits import Gate, asked_wait, backoff, jittered, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("6m0s", 360), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("1d", 86400), ("7", 7), ("", None),
     ("soon", None), ("-3s", None), ("nan", None), ("1s!", None)],
)  # fmt: skip
def test_durations(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "3"}, 3),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "rubbish"}, None),
        ({"Retry-After-Ms": "250", "retry-after": "3"}, 0.25),
        ({"x-ratelimit-reset-requests": "2s", "x-ratelimit-reset-tokens": "500ms"}, 2),
        ({"x-ratelimit-reset-requests": "2s", "x-ratelimit-remaining-requests": "5",
          "x-ratelimit-reset-tokens": "500ms", "x-ratelimit-remaining-tokens": "0"}, 0.5),
    ],
)  # fmt: skip
def test_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_wait(headers, limited=True) == seconds


def test_resets_count_only_where_a_limit_was_hit() -> None:
    assert asked_wait({"x-ratelimit-reset-requests": "2s"}, limited=False) is None
    assert asked_wait({"retry-after": "2"}, limited=False) == 2


def test_a_date() -> None:
    soon = datetime.now(timezone.utc) + timedelta(seconds=30)
    assert 27 < (asked_wait({"retry-after": format_datetime(soon, usegmt=True)}, limited=True) or 0) <= 30
    past = datetime.now(timezone.utc) - timedelta(days=1)
    assert asked_wait({"retry-after": format_datetime(past)}, limited=True) == 0


def test_waits_grow_with_jitter_and_are_bounded() -> None:
    assert all(0.25 <= backoff(0) <= 0.5 for _ in range(50))
    assert all(2 <= backoff(3) <= 4 for _ in range(50))
    assert all(15 <= backoff(40) <= 30 for _ in range(50))
    assert all(10 <= jittered(10) <= 11 for _ in range(50))
    assert len({backoff(3) for _ in range(50)}) > 1


def test_a_closed_gate_opens_by_itself_or_lets_go_when_stopped() -> None:
    gate, stop = Gate(), threading.Event()
    gate.close_for(0.1)
    started = time.monotonic()
    assert gate.wait(stop)
    assert time.monotonic() - started >= 0.09
    gate.close_for(60)
    threading.Timer(0.05, stop.set).start()
    assert not gate.wait(stop)
