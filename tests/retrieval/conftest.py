"""What the tests of `HybridIndex` share: an index with a small real encoder, programs of their own, a Chroma server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import limiar
from limiar.testing import WordsEncoder

SOURCE = str(Path(limiar.__file__).parents[1])
IMPORTS = """
import os, resource, signal, sys, threading, time, traceback
import chromadb.api.rust, limiar.retrieval.engine
from limiar import HybridIndex, IndexDocument
from limiar.errors import *
from limiar.testing import WordsEncoder
def forked(work):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    return child
def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


@pytest.fixture
def encoder():
    return WordsEncoder()


@pytest.fixture
def index(tmp_path, encoder) -> Iterator[limiar.HybridIndex]:
    """An empty one."""
    pytest.importorskip("tantivy")
    pytest.importorskip("chromadb")
    with limiar.HybridIndex.create(tmp_path / "an index", encoder=encoder) as made:
        yield made


@pytest.fixture
def start_program() -> Callable[..., subprocess.Popen[str]]:
    """Starts a Python program that has `IMPORTS` before it."""

    def start(program: str, *arguments: object, **options) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", IMPORTS + program, *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": SOURCE, "RUST_BACKTRACE": "0"}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, **options)

    return start


@pytest.fixture
def run_program(start_program) -> Callable[..., str]:
    """Runs one to its end and returns what it printed."""

    def run(program: str, *arguments: object) -> str:
        process = start_program(program, *arguments)
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
        return out

    return run


class ChromaServer:
    """`chroma run`, which can be killed and started again on the same port and folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers."""
        if self._process is not None:
            return
        executable = Path(sys.executable).with_name("chroma")
        options = ["--path", str(self._folder), "--host", "127.0.0.1", "--port", str(self._port)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([executable, "run", *options], stdout=log, stderr=log)
        for _ in range(600):
            if self._answers():
                return
            time.sleep(0.05)
        pytest.fail("the Chroma server does not start")

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/api/v2/heartbeat", timeout=5).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="session")
def started_server(tmp_path_factory) -> Iterator[ChromaServer]:
    if not Path(sys.executable).with_name("chroma").exists():
        pytest.skip("chromadb's command line is not installed")
    server = ChromaServer(tmp_path_factory.mktemp("chroma server"))
    yield server
    server.kill()


@pytest.fixture
def server(started_server) -> ChromaServer:
    """One that answers, whatever the test before did to it."""
    started_server.start()
    return started_server
