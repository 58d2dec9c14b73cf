"""The command on indexes of a handful of documents, with the encoder inside the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest

from limiar.cli import main

from ..keywords.conftest import KEY, Reply, Server, refused, said, server  # noqa: F401, TID252 - a fixture and its parts

LIMIAR = [sys.executable, "-c", "import sys; from limiar.cli import main; sys.exit(main())"]
_UNWANTED = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "TTY_COMPATIBLE")

Run = Callable[..., subprocess.CompletedProcess[str]]

LAWS = """\
{"_id": "art75", "title": "Dispensa", "text": "É dispensável a licitação de pequeno valor.", "year": 2021}
{"_id": "art28", "title": "Modalidades", "text": "São modalidades o pregão, o concurso e o leilão.", "year": 2021}
{"_id": "quorum", "title": "Cluster", "text": "Sem quórum, o cluster recusa gravações.", "year": 2023}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name in _UNWANTED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def limiar() -> Run:
    """Runs `limiar ARGUMENTS` in this process, where the model is loaded once; `stdin` is bytes."""

    def run(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        words = ["limiar", *map(str, arguments)]
        with pytest.MonkeyPatch.context() as patch, StringIO() as out, StringIO() as err:
            patch.setattr("sys.stdin", TextIOWrapper(BytesIO(stdin)))
            with redirect_stdout(out), redirect_stderr(err):
                status = main(words[1:])
            return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def command() -> list[str]:
    """What the installed script `limiar` runs."""
    return LIMIAR


@pytest.fixture
def environment() -> dict[str, str]:
    """The machine's, without what would change the output."""
    return {**{name: value for name, value in os.environ.items() if name not in _UNWANTED}, "PYTHONIOENCODING": "utf-8"}


@pytest.fixture(scope="session")
def laws() -> str:
    """Three documents as JSON lines."""
    return LAWS


@pytest.fixture(scope="session")
def laws_index(limiar: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of `LAWS`, to copy."""
    pytest.importorskip("chromadb")
    pytest.importorskip("tantivy")
    folder = tmp_path_factory.mktemp("laws")
    (folder / "laws.jsonl").write_text(LAWS, encoding="utf-8")
    done = limiar("index", folder / "laws.jsonl", "--index", folder / "index")
    assert done.returncode == 0, done.stderr
    return folder / "index"


@pytest.fixture
def index(laws_index: Path, tmp_path: Path) -> Path:
    """A copy of it, in the default place."""
    folder = tmp_path / "limiar-index"
    shutil.copytree(laws_index, folder)
    return folder
