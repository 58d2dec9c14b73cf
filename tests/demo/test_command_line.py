"""`limiar` itself: help, messages, exit statuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import limiar as package
from limiar import HybridIndex, IndexDocument
from limiar.cli import main
from limiar.demo.index import DemoIndex
from limiar.evaluation.dataset import load_demo

Run = Callable[..., CompletedProcess[str]]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"limiar {package.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["demo", "--fallback", "raise"], ["demo", "--threshold", "x"]])
def test_unknown_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: limiar" in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import contextlib, sys\nfrom limiar.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['demo', '--help'])\n"
        "print('loaded', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(run.stdout.rpartition("loaded")[2].split())
    assert "limiar" in loaded
    assert not loaded & {"chromadb", "numpy", "openai", "openvino", "rich", "tokenizers", "torch"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "2"], "threshold=2.0; expected a number from 0 to 1"),
        (["--threshold", "nan"], "threshold=nan; expected a number from 0 to 1"),
        (["--top-k", "0"], "top_k=0; expected a whole number of at least 1"),
        (["--candidates", "4"], "--candidates 4; expected at least 5"),
        (["--limit", "0"], "--limit 0; expected at least 1"),
        (["--question", " "], "the query is ' '; expected text to look for"),
        (["--question", "quorum", "--limit", "3"], "--question answers one question"),
        (["--json", "/no/such/folder/m.json"], "expected a file in a folder that exists"),
        (["--model", ""], "model=''; expected a Hugging Face id"),
        (["--llm-model", "m"], "--llm-model m needs a server"),
        (["--llm-base-url", "http://localhost:1/v1"], "but no model; give --llm-model"),
        (["--llm-base-url", "localhost", "--llm-model", "m"], "not of the form http(s)://HOST"),
        (["--llm-base-url", "http://localhost:99999", "--llm-model", "m"], "not of the form http(s)://HOST"),
    ],
)
def test_a_bad_value_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert main(["demo", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("limiar: ")
    assert error.count("\n") == 1
    assert message in error


def test_a_file_in_the_place_of_the_store(limiar: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    done = limiar("demo", "--db", file, "--question", "quorum")
    assert done.returncode == 2
    assert done.stderr.startswith(f"limiar: {file}")
    assert done.stderr.count("\n") == 1
    assert file.read_text() == "not a folder"


def test_a_folder_of_other_files(limiar: Run, tmp_path: Path) -> None:
    (tmp_path / "chroma.sqlite3").write_bytes(b"mine")
    done = limiar("demo", "--db", tmp_path, "--question", "quorum")
    assert done.returncode == 2
    assert f"{tmp_path} holds other files (chroma.sqlite3); choose a new or an empty folder" in done.stderr
    assert (tmp_path / "chroma.sqlite3").read_bytes() == b"mine"


def test_an_index_of_other_documents_stays_as_it_is(limiar: Run, tmp_path: Path) -> None:
    with HybridIndex.create(tmp_path, views=("text", "both")) as index:
        index.add([IndexDocument("mine", {"text": "A document of my own."})])
    done = limiar("demo", "--db", tmp_path, "--question", "quorum")
    assert done.returncode == 2
    assert done.stderr == (f"limiar: --db {tmp_path} is an index of other documents; choose a new or an empty folder\n")
    with HybridIndex.open(tmp_path) as index:
        assert index.ids() == ["mine"]


def test_an_index_of_the_same_passages_stays_as_it_is(limiar: Run, tmp_path: Path) -> None:
    passage = load_demo().passages[0]
    with HybridIndex.create(tmp_path, views=("text", "both")) as index:
        index.add([IndexDocument(passage.id, {"text": passage.full_text}, {"topic": "proxmox"})])
    assert limiar("demo", "--db", tmp_path, "--question", "quorum").returncode == 2
    with HybridIndex.open(tmp_path) as index:
        assert [document.metadata for document in index.get(index.ids())] == [{"topic": "proxmox"}]


def test_an_index_that_takes_no_words_stays_empty(limiar: Run, tmp_path: Path) -> None:
    HybridIndex.create(tmp_path).close()
    done = limiar("demo", "--db", tmp_path, "--question", "quorum")
    assert done.returncode == 2
    assert done.stderr == f"limiar: --db {tmp_path} is an index that no demo made; choose a new or an empty folder\n"
    with HybridIndex.open(tmp_path) as index:
        assert index.ids() == []


def test_damaged_documents(limiar: Run, db: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(db, folder)
    (folder / "documents.sqlite").write_bytes(b"damaged" * 1000)
    done = limiar("demo", "--db", folder, "--question", "quorum")
    assert done.returncode == 2
    assert done.stderr.startswith("limiar: ")
    assert "documents.sqlite" in done.stderr


def test_a_folder_that_another_demo_is_filling(limiar: Run, tmp_path: Path) -> None:
    with HybridIndex.create(tmp_path, views=("text", "both")):
        done = limiar("demo", "--db", tmp_path, "--question", "quorum")
    assert done.returncode == 2
    assert f"another writer has {tmp_path} open; close it first, or in Python" in done.stderr


def test_several_demos_share_a_folder(limiar: Run, db: Path) -> None:
    index = DemoIndex(db, load_demo().passages)
    index.settle()
    try:
        assert limiar("demo", "--db", db, "--question", "quorum").returncode == 0
        assert index.search("quorum", 5, by_words=True).candidates
    finally:
        index.close()


@pytest.mark.parametrize("module", ["chromadb", "tantivy"])
def test_without_an_engine_the_line_to_install_is_named(module: str, environment: dict[str, str]) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from limiar.cli import main; sys.exit(main(['demo', '--question', 'quorum']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "limiar: limiar demo needs an optional dependency: pip install 'limiar[demo]'\n"


def test_the_temporary_store_is_removed(limiar_process: Run, tmp_path: Path) -> None:
    done = limiar_process("demo", "--question", "quorum", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("limiar-demo-*")) == []


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="the system has no full device")
def test_output_to_a_full_disk(command: list[str], environment: dict[str, str]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        words = [*command, "analyze", "quorum"]
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, env=environment, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == b"limiar: the output cannot be written (no space left on its disk)\n"


def test_a_reader_that_goes_away(command: list[str], db: Path, environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [*command, "demo", "--db", str(db), "--limit", "12"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 1
        assert process.stderr.read() == b""
