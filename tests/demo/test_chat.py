"""The chat, at a real pseudo-terminal."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pty = pytest.importorskip("pty", reason="pseudo-terminals are POSIX")
termios = pytest.importorskip("termios", reason="pseudo-terminals are POSIX")

PROMPT = "pergunta / question> "


class Terminal:
    """The person's side of a terminal."""

    def __init__(self, handle: int, process: subprocess.Popen[bytes]) -> None:
        self.handle = handle
        self.process = process

    def until(self, text: str) -> str:
        """What appears up to and with `text`."""
        seen = b""
        deadline = time.monotonic() + 60
        while text.encode() not in seen:
            assert time.monotonic() < deadline, f"{text!r} did not appear in {seen!r}"
            if select.select([self.handle], [], [], 1)[0]:
                seen += os.read(self.handle, 4096)
        return seen.decode(errors="replace")

    def to_the_end(self) -> str:
        """Everything until the program closes the terminal."""
        seen = b""
        with suppress(OSError):  # how Linux says so
            while chunk := os.read(self.handle, 4096):
                seen += chunk
        return seen.decode(errors="replace")

    def type(self, keys: str | bytes) -> None:
        os.write(self.handle, keys if isinstance(keys, bytes) else keys.encode())

    def status(self) -> int:
        return self.process.wait(timeout=60)


@pytest.fixture
def terminal(command: list[str], environment: dict[str, str], db: Path) -> Callable[..., Any]:
    """Starts `limiar demo ARGUMENTS` at a terminal of 90 columns."""

    @contextmanager
    def start(*arguments: str) -> Iterator[Terminal]:
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (40, 90)) if hasattr(termios, "tcsetwinsize") else None
        process = subprocess.Popen(
            [*command, "demo", "--db", str(db), *arguments],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env={**environment, "TERM": "xterm"},
        )  # fmt: skip
        os.close(theirs)
        try:
            yield Terminal(ours, process)
        finally:
            process.kill()
            process.wait()
            os.close(ours)

    return start


def test_a_conversation(terminal: Callable[..., Any]) -> None:
    with terminal() as person:
        start = person.until(PROMPT)
        assert "An empty line or Ctrl-D ends." in start
        person.type("repactuação\n")
        answer = person.until(PROMPT)
        assert "kept as [1]" in answer
        assert "\x1b[32m" in answer
        person.type("Who scored the most goals in the 2002 World Cup?\n")
        assert "Não encontrei nada relevante" in person.until(PROMPT)
        person.type("\n")
        assert person.status() == 0


def test_the_end_of_the_input_ends_it(terminal: Callable[..., Any]) -> None:
    with terminal("--no-color") as person:
        person.until(PROMPT)
        person.type("quorum\n")
        assert "\x1b[32m" not in person.until(PROMPT)
        person.type(b"\x04")
        assert person.status() == 0


def test_an_interruption_ends_it(terminal: Callable[..., Any]) -> None:
    with terminal() as person:
        person.until(PROMPT)
        person.process.send_signal(signal.SIGINT)
        assert person.status() == 130


def test_a_question_that_cannot_be_used_does_not_end_it(terminal: Callable[..., Any]) -> None:
    with terminal("--fallback", "empty") as person:
        person.until(PROMPT)
        person.type(b"caf\xe9\n")
        person.until(PROMPT)
        person.type("quorum\n")
        assert "Question:" in person.until(PROMPT)


def test_the_set_at_a_terminal(terminal: Callable[..., Any]) -> None:
    with terminal("--limit", "3") as person:
        shown = person.to_the_end()
        assert "3 questions" in shown
        assert "without a cache" in shown
        assert person.status() == 0
