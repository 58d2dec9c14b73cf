"""How long to wait before a request is sent again: as the server says, or longer each time."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

_FIRST_WAIT = 0.5
_LONGEST_BACKOFF = 30.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_TERM = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_LIMITED = ("requests", "tokens")


def asked_wait(headers: Mapping[str, str], *, limited: bool) -> float | None:
    """The seconds that a server asks to wait, or None if it does not say.

    `retry-after-ms` goes before `retry-after`, in seconds or as a date. Only where a limit was hit,
    `x-ratelimit-reset-*` follow: those with nothing remaining, or all if none says so.

    Args:
        headers: those of the answer, with names in any case.
        limited: whether the answer says that a limit was hit (HTTP 429).
    """
    lower = {name.lower(): value for name, value in headers.items()}
    if (milliseconds := _number(lower.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    if (seconds := _retry_after(lower.get("retry-after"))) is not None:
        return seconds
    if not limited:
        return None
    resets = {name: parse_duration(lower.get(f"x-ratelimit-reset-{name}", "")) for name in _LIMITED}
    known = {name: wait for name, wait in resets.items() if wait is not None}
    spent = [wait for name, wait in known.items() if _number(lower.get(f"x-ratelimit-remaining-{name}")) == 0]
    return max(spent or known.values(), default=None)


def backoff(attempt: int) -> float:
    """Seconds before another attempt where the server does not say: doubling, with jitter, at most half a minute."""
    return min(_LONGEST_BACKOFF, _FIRST_WAIT * 2.0**attempt) * random.uniform(0.5, 1)  # noqa: S311


def jittered(seconds: float) -> float:
    """At least `seconds`, and up to a tenth more, so that waiting threads do not all come back at once."""
    return seconds * random.uniform(1, 1.1)  # noqa: S311


def parse_duration(text: str) -> float | None:
    """Seconds of "1s", "6m0s", "20ms", or of a bare number."""
    if _DURATION.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in _TERM.findall(text))
    return _number(text)


class Gate:
    """Holds every thread's next request back while the server wants quiet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open_at = 0.0

    def close_for(self, seconds: float) -> None:
        with self._lock:
            self._open_at = max(self._open_at, time.monotonic() + seconds)

    def wait(self, stop: threading.Event) -> bool:
        """Wait until the gate is open; False if `stop` was set meanwhile."""
        while not stop.is_set():
            left = self._open_at - time.monotonic()
            if left <= 0:
                return True
            stop.wait(left)
        return False


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None


def _retry_after(text: str | None) -> float | None:
    if text is None or (seconds := _number(text)) is not None:
        return None if text is None else seconds
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())
