"""The demo as a user starts it: another process, no key of the machine's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from limiar.cli import main

pytest.importorskip("chromadb")

LIMIAR = [sys.executable, "-c", "import sys; from limiar.cli import main; sys.exit(main())"]
_UNWANTED = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def command() -> list[str]:
    """What the installed script `limiar` runs."""
    return LIMIAR


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The machine's, without what would change the output."""
    return {**{name: value for name, value in os.environ.items() if name not in _UNWANTED}, "PYTHONIOENCODING": "utf-8"}


@pytest.fixture(scope="session")
def limiar_process(command: list[str], environment: dict[str, str]) -> Run:
    """Runs `limiar ARGUMENTS` without a terminal; keywords are environment variables."""

    def run(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, encoding="utf-8", timeout=200,
            stdin=subprocess.DEVNULL, env={**environment, **more}, check=False,
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def limiar() -> Run:
    """The same in this process, where the model is loaded once."""

    def run(*arguments: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        words = ["limiar", *map(str, arguments)]
        with pytest.MonkeyPatch.context() as patch, StringIO() as out, StringIO() as err:
            for name in _UNWANTED:
                patch.delenv(name, raising=False)
            for name, value in more.items():
                patch.setenv(name, value)
            with redirect_stdout(out), redirect_stderr(err):
                status = main(words[1:])
            return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def db(limiar: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the demo's passages and their keywords."""
    folder = tmp_path_factory.mktemp("demo") / "index"
    done = limiar("demo", "--db", folder, "--question", "quorum")
    assert done.returncode == 0, done.stderr
    assert "index: 195 passages new, 0 there already" in done.stdout
    assert "keywords: 195 passages new, 0 there already" in done.stdout
    return folder


@pytest.fixture
def serve() -> Callable[[type[BaseHTTPRequestHandler]], Any]:
    """A real HTTP server on a free port; gives its base address."""

    @contextmanager
    def run(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
            server.shutdown()

    return run
