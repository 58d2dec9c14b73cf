"""What the disk adds: reopening, locks, faults, and a kill at any moment."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import limiar
from limiar import Analyzer, BM25Index, IndexDocument
from limiar.errors import (
    MissingExtraError,
    StoreDamagedError,
    StoreError,
    StoreLockedError,
    StoreNotFoundError,
    StoreVersionError,
    StoreWriteError,
)
from limiar.retrieval import bm25

pytest.importorskip("tantivy")

SOURCE = str(Path(limiar.__file__).parents[1])
posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX limits and signals")


def documents(numbers, text="licitação pública número"):
    return [IndexDocument(f"d{n}", {"text": f"{text} {n}"}, {"n": n}) for n in numbers]


def python(program: str, *arguments: str, **options) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": SOURCE, "RUST_BACKTRACE": "0"}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def run(program: str, *arguments: str) -> str:
    process = python("from limiar import *\nimport os, sys\n" + program, *arguments)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "an index"
    with BM25Index.create(path, fields={"title": 2.5, "text": 1.0}, analyzer=Analyzer("en")) as index:
        index.add(documents(range(50), "running services number"))
    return path


# Reopening


def test_everything_is_restored(folder) -> None:
    with BM25Index.open(folder) as index:
        assert index.analyzer == Analyzer("en")
        assert index.fields == {"title": 2.5, "text": 1.0}
        assert len(index.search("run the service", 100)) == 50
        assert index.ids() == [f"d{n}" for n in range(50)]
        index.add(documents([50]))
        assert index.ids()[-1] == "d50"
    with BM25Index.open(folder, read_only=True) as index:
        stats = index.stats()
        assert (stats.documents, stats.language) == (51, "en")
        assert stats.size_bytes > 1000
        assert stats.segments >= 1


def test_a_closed_index_says_so(folder) -> None:
    index = BM25Index.open(folder)
    index.close()
    index.close()
    for call in (lambda: index.search("x"), lambda: index.add([]), lambda: index.delete([]), lambda: len(index)):
        with pytest.raises(StoreError, match="is closed; open it again"):
            call()


def test_create_wants_an_empty_folder(folder, tmp_path) -> None:
    with pytest.raises(StoreError, match="already holds an index"):
        BM25Index.create(folder)
    foreign = tmp_path / "home"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"holds other files \(notes.txt\)"):
        BM25Index.create(foreign)
    assert (foreign / "notes.txt").read_text() == "mine"


def test_create_again_after_a_create_that_was_killed(folder) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(StoreNotFoundError, match="no limiar-bm25 index"):
        BM25Index.open(folder)
    with BM25Index.create(folder) as index:
        assert len(index) == 0


def test_no_index(tmp_path) -> None:
    with pytest.raises(StoreNotFoundError, match=r"manifest.json is missing"):
        BM25Index.open(tmp_path / "nowhere")


# Writers and readers


def test_a_second_writer_is_refused(folder) -> None:
    with BM25Index.open(folder), pytest.raises(StoreLockedError, match=r"another writer has .* open; close it first"):
        BM25Index.open(folder)
    BM25Index.open(folder).close()


def test_a_second_writer_is_refused_in_another_process(folder) -> None:
    program = "try: BM25Index.open(sys.argv[1])\nexcept StoreLockedError: print('locked')"
    with BM25Index.open(folder):
        assert run(program, str(folder)) == "locked\n"


def test_processes_read_while_one_writes(folder) -> None:
    program = (
        "index = BM25Index.open(sys.argv[1], read_only=True)\n"
        "print(len(index), flush=True)\n"
        "sys.stdin.readline()\n"
        "print(len(index), len(index.search('service', 1000)), flush=True)\n"
    )
    readers = [
        python("from limiar import *\nimport sys\n" + program, str(folder), stdin=subprocess.PIPE) for _ in range(3)
    ]
    assert [reader.stdout.readline() for reader in readers] == ["50\n"] * 3
    with BM25Index.open(folder) as writer:
        writer.add(documents(range(100, 110), "service"))
        writer.delete(["d0"])
        for reader in readers:
            out, err = reader.communicate("\n", timeout=60)
            assert (out, err) == ("59 59\n", "")


def test_a_reader_follows_commits_and_merges(folder) -> None:
    with BM25Index.open(folder) as writer, BM25Index.open(folder, read_only=True) as reader:
        for n in range(60, 90):
            writer.add(documents([n], "service"))
            assert len(reader) == n - 9
            assert len(reader.search("service", 1000)) == n - 9


def test_a_reader_does_not_write(folder) -> None:
    with BM25Index.open(folder, read_only=True) as index:
        assert index.read_only
        with pytest.raises(StoreWriteError, match="is open read-only"):
            index.add(documents([1]))
        with pytest.raises(StoreWriteError, match="is open read-only"):
            index.delete(["d1"])


# Faults


@pytest.fixture
def public_folder(folder):
    """A copy of the index that other users can reach, and nobody can write to."""
    with tempfile.TemporaryDirectory() as base:
        copy = Path(shutil.copytree(folder, Path(base) / "index"))
        Path(base).chmod(0o755)
        for path in [*copy.rglob("*"), copy]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield copy
        for path in [copy, copy / "tantivy"]:
            path.chmod(0o755)


@posix_only
def test_a_read_only_folder_can_be_searched_and_says_why_it_cannot_be_written(public_folder) -> None:
    program = (
        "from filelock import FileLock\n"
        "from limiar.retrieval import engine\n"
        "if os.geteuid() == 0: os.setgroups([]), os.setgid(65534), os.setuid(65534)\n"
        "index = BM25Index.open(sys.argv[1], read_only=True)\n"
        "print(len(index), len(index.search('service', 100)), len(index.ids()))\n"
        "index.verify()\n"
        "for call in (BM25Index.open, BM25Index.create):\n"
        "    try: call(sys.argv[1])\n"
        "    except StoreWriteError as error: print(error)\n"
    )
    found, *refused = run(program, str(public_folder)).splitlines()
    assert found == "50 50 50"
    expected = f"{public_folder} cannot be written (Permission denied); open it with read_only=True to search"
    assert refused == [expected, expected]


@posix_only
def test_a_full_disk_loses_nothing(folder) -> None:
    """No file may grow beyond 300 kB: the system refuses the write, as it does on a full disk."""
    program = (
        "import resource\n"
        "index = BM25Index.open(sys.argv[1])\n"
        "limits = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))\n"
        "words = lambda n: ' '.join(f'w{n * 97 + m}' for m in range(200))\n"
        "try: index.add(IndexDocument(f'n{n}', {'text': words(n)}) for n in range(3000))\n"
        "except StoreWriteError as error: print(error)\n"
        "print(len(index), len(index.search('service', 100)), index.stats().size_bytes < 100_000)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, limits)\n"
        "index.add([IndexDocument('after', {'text': 'service'})])\n"
        "print(len(index)); index.close()\n"
    )
    message, kept, after = run(program, str(folder)).splitlines()
    assert "cannot be written" in message
    assert "what was committed before is kept" in message
    assert (kept, after) == ("50 50 True", "51"), "what the failed add wrote is removed"
    with BM25Index.open(folder) as index:
        index.verify()
        assert len(index) == 51


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"version": 99}, StoreVersionError, "format version 99; this limiar reads up to 1: upgrade"),
        ({"version": None}, StoreDamagedError, "has version None"),
        ({"format": "other"}, StoreDamagedError, "is no manifest of a limiar-bm25 index"),
        ({"fields": {}}, StoreDamagedError, "is damaged"),
        ({"analyzer": {"language": "xx"}}, StoreDamagedError, "is damaged"),
        (
            {"analyzer": {"language": "pt", "fingerprint": "0"}},
            StoreVersionError,
            "another version of the 'pt' analyzer",
        ),
    ],
)
def test_a_foreign_newer_or_damaged_manifest(folder, change, error, message) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(error, match=message):
        BM25Index.open(folder)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe"])
def test_a_manifest_that_is_none(folder, content) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(StoreDamagedError):
        BM25Index.open(folder)


@pytest.mark.parametrize("part", [".store", ".idx", ".term", ".fast", ".fieldnorm", "meta.json"])
@pytest.mark.parametrize("harm", ["missing", "short", "empty"])
def test_a_file_that_is_missing_or_cut(folder, part, harm) -> None:
    path = next(path for path in (folder / "tantivy").iterdir() if path.name.endswith(part))
    data = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if harm == "short" else b"")
    with pytest.raises(StoreDamagedError, match="restore it from a backup, or rebuild the index"):
        BM25Index.open(folder, read_only=True)
    path.write_bytes(data)
    BM25Index.open(folder).close()


@pytest.mark.parametrize("part", [".store", ".idx", ".term", ".fast", ".fieldnorm"])
def test_verify_names_a_file_with_a_flipped_bit(folder, part) -> None:
    path = next(path for path in (folder / "tantivy").iterdir() if path.name.endswith(part))
    with BM25Index.open(folder, read_only=True) as index:
        index.verify()
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        shutil.copy(path, path.with_suffix(".old"))
        path.with_suffix(".new").write_bytes(data)
        path.with_suffix(".new").replace(path)
        path.with_suffix(".old").unlink()
        with pytest.raises(StoreDamagedError, match=path.name):
            index.verify()


def test_another_version_of_the_engine(folder) -> None:
    for path in (folder / "tantivy").iterdir():
        path.write_bytes(re.sub(rb'"index_format_version":\d', b'"index_format_version":1', path.read_bytes()))
    with pytest.raises(StoreVersionError, match="was written by another version of tantivy"):
        BM25Index.open(folder)


def test_the_engine_gone(folder) -> None:
    shutil.rmtree(folder / "tantivy")
    with pytest.raises(StoreDamagedError):
        BM25Index.open(folder)


def test_a_missing_engine_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tantivy", None)
    monkeypatch.delitem(sys.modules, "limiar.retrieval.engine", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'limiar\[bm25\]'"):
        BM25Index.create(tmp_path / "x")


def test_the_fingerprint_tells_the_analyzers_apart() -> None:
    assert bm25._fingerprint(Analyzer("pt")) != bm25._fingerprint(Analyzer("en"))


# Killed

ADDS_UNTIL_KILLED = """
import sys
from limiar import BM25Index, IndexDocument
index = BM25Index.open(sys.argv[1])
number = int(sys.argv[2])
while True:
    batch = range(number, number + 40)
    index.add(IndexDocument(f"d{n}", {"text": f"pregão eletrônico {n} " * 5}, {"n": n}) for n in batch)
    number += 40
    print(number, flush=True)
"""


@posix_only
def test_killed_at_20_random_moments_of_a_bulk_add(tmp_path) -> None:
    folder = tmp_path / "index"
    BM25Index.create(folder).close()
    moments = random.Random(3)
    there = 0
    for _ in range(20):
        process = python(ADDS_UNTIL_KILLED, str(folder), str(there))
        committed = int(process.stdout.readline())
        time.sleep(moments.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        lines = process.communicate(timeout=60)[0].split("\n")
        committed = max([committed, *(int(line) for line in lines[:-1])])
        with BM25Index.open(folder) as index:
            index.verify()
            there = len(index)
            assert committed <= there <= committed + 40
            assert there % 40 == 0, "a transaction is there whole or not at all"
            assert index.ids() == [f"d{n}" for n in range(there)]
            assert len(index.search("pregão", there)) == there
