"""`limiar index PATH...`, and `verify`, `repair`, `stats`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

pytest.importorskip("chromadb")
pytest.importorskip("tantivy")

from limiar import HybridIndex, IndexDocument

Run = Callable[..., CompletedProcess[str]]

NEW = '{"_id": "novo", "text": "O leilão aliena bens."}\n'


def ids(folder: str | Path = "limiar-index") -> list[str]:
    with HybridIndex.open(folder, read_only=True) as index:
        return sorted(index.ids())


def wrote(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import contextlib, sys\nfrom limiar.cli import main\n"
        "for words in ('index', 'index verify', 'search', 'expand', 'expand edit'):\n"
        "    with contextlib.suppress(SystemExit): main([*words.split(), '--help'])\n"
        "print('loaded', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    for usage in (
        "usage: limiar index [-h]",
        "usage: limiar index verify [-h]",
        "usage: limiar search [-h]",
        "usage: limiar expand edit [-h]",
    ):
        assert usage in run.stdout
    loaded = set(run.stdout.rpartition("loaded")[2].split())
    assert not loaded & {"chromadb", "numpy", "openai", "openvino", "rich", "tantivy", "tokenizers", "torch"}


# Building


def test_as_a_process(command: list[str], environment: dict[str, str]) -> None:
    wrote("docs/guia.md", "# Dispensa\nPequeno valor.\n# Pregão\nBens comuns.\n")
    done = subprocess.run(
        [*command, "index", "docs", "-", "--format", "jsonl"], input=NEW, capture_output=True, text=True,
        encoding="utf-8", timeout=120, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "limiar-index: 3 documents",
        "  3 added, 0 replaced, 0 unchanged",
        "  3 texts embedded",
    ]
    assert done.stderr == ""
    found = subprocess.run(
        [*command, "search", "leilão", "-k", "1", "--json"], capture_output=True, timeout=120, check=True,
        env={**environment, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert json.loads(found.stdout.decode("utf-8"))["fields"] == {"text": "O leilão aliena bens."}
    assert subprocess.run([*command, "index", "verify"], env=environment, check=False, timeout=120).returncode == 0


def test_a_second_run_brings_it_up_to_date(limiar: Run, index: Path, laws: str) -> None:
    first, second, _ = laws.splitlines()
    lines = [first.replace("2021", "2022"), second, NEW.strip(), NEW.strip()]
    wrote("leis.jsonl", "\n".join(lines))
    done = limiar("index", "leis.jsonl")
    assert done.stdout.splitlines() == [
        "limiar-index: 4 documents",
        "  1 added, 1 replaced, 1 unchanged",
        "  1 texts embedded",
        "  1 passed over for a later one with the same id",
    ]
    deleted = limiar("index", "leis.jsonl", "--delete-missing")
    assert "  1 deleted" in deleted.stdout.splitlines()
    assert ids() == ["art28", "art75", "novo"]


def test_nothing_is_deleted_for_want_of_input(limiar: Run, index: Path) -> None:
    wrote("empty/a.jsonl", "\n")
    done = limiar("index", "empty", "--delete-missing")
    assert done.returncode == 2
    assert done.stderr == "limiar: the input holds no documents; expected at least one\n"
    wrote("a.jsonl", NEW + "no JSON")
    assert limiar("index", "a.jsonl", "--delete-missing").returncode == 2
    assert limiar("index", "a.jsonl", "--delete-missing", "--skip-bad-lines").returncode == 2
    assert "art75" in ids()


def test_options_reach_the_index(limiar: Run) -> None:
    wrote("a.csv", "nr;assunto;corpo;ano;nota\n1;Servers;The server is running;2020;x\n")
    options = ["--id", "nr", "--title", "assunto", "--text", "corpo", "--metadata", "ano", "--numbers", "ano"]
    settings = ["--language", "en", "--title-weight", "2.5", "--index", "i"]
    assert limiar("index", "a.csv", *options, *settings).returncode == 0
    with HybridIndex.open("i", read_only=True) as index:
        (document,) = index.get(["1"])
        stats = index.stats()
    assert (document.fields, document.metadata) == (
        {"title": "Servers", "text": "The server is running"},
        {"ano": 2020},
    )
    assert (stats.language, dict(stats.fields)) == ("en", {"title": 2.5, "text": 1.0})
    assert limiar("index", "a.csv", *options, *settings).returncode == 0
    other = limiar("index", "a.csv", *options, "--index", "i", "--language", "pt")
    assert other.stderr == "limiar: i was made with --language en, not pt; leave it out, or make a new index\n"
    other = limiar("index", "a.csv", *options, "--index", "i", "--title-weight", "1")
    assert "i was made with --title-weight 2.5, not 1.0" in other.stderr


def test_bad_lines_are_counted(limiar: Run) -> None:
    wrote("d/a.jsonl", NEW + "no JSON\n")
    wrote("d/b.pdf", "%PDF")
    done = limiar("index", "d", "--skip-bad-lines")
    assert done.stdout.splitlines()[-2:] == ["  1 bad lines passed over", "  1 files of other kinds passed over"]


def test_only_blank_documents(limiar: Run) -> None:
    wrote("a.jsonl", '{"id": "1", "text": ""}\n')
    assert limiar("index", "a.jsonl").returncode == 0
    assert limiar("search", "nada").stderr == "limiar: nothing found\n"


def test_titles_of_an_index_without_such_a_field(limiar: Run) -> None:
    HybridIndex.create("limiar-index").close()
    wrote("a.jsonl", '{"_id": "1", "title": "Pregão", "text": "Bens comuns."}\n')
    assert limiar("index", "a.jsonl").returncode == 0
    with HybridIndex.open("limiar-index", read_only=True) as index:
        (document,) = index.get(["1"])
    assert document.metadata == {"title": "Pregão"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.jsonl"], "none.jsonl cannot be read (No such file or directory)"),
        (["bad.jsonl"], "bad.jsonl:1 is no JSON"),
        (["good.jsonl", "--text", "corpo"], "good.jsonl:1 has no column 'corpo'; its columns are: '_id', 'text'"),
        (["good.jsonl", "--encoding", "utf-99"], "--encoding 'utf-99' is not known"),
        (["good.jsonl", "--delimiter", ";;"], "--delimiter ';;'; expected one character"),
        (["good.jsonl", "--pooling", "cls"], "pooling='cls' is for a named Hugging Face model"),
        (["good.jsonl", "--encoder", "openai:text-embedding-3-small", "--pooling", "cls"], "--pooling cls is for"),
        (["good.jsonl", "--encoder", "./no/such/model"], "no/such/model"),
        (["good.jsonl", "--title-weight", "-1"], "the weight of field 'title' is -1.0"),
        (["good.jsonl", "--delete-missing", "--skip-bad-lines"], "choose one"),
    ],
)
def test_what_cannot_be_is_one_line_and_makes_no_index(limiar: Run, arguments: list[str], message: str) -> None:
    wrote("good.jsonl", NEW)
    wrote("bad.jsonl", "no JSON")
    done = limiar("index", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("limiar: ")
    assert done.stderr.count("\n") == 1
    assert not Path("limiar-index").exists()


def test_an_error_in_the_midst_says_what_is_kept(limiar: Run, index: Path) -> None:
    wrote("a.jsonl", NEW + "no JSON\n")
    done = limiar("index", "a.jsonl")
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first.startswith("limiar: not finished; limiar-index holds 3 documents. The same command continues")
    assert second.startswith("limiar: a.jsonl:2 is no JSON")


@pytest.mark.parametrize("verb", ["index", "search"])
def test_another_encoder(limiar: Run, index: Path, verb: str) -> None:
    wrote("a.jsonl", NEW)
    done = limiar(verb, "a.jsonl", "--encoder", "BAAI/bge-m3", "--pooling", "cls")
    assert done.returncode == 2
    made_with = "limiar: limiar-index was made with the encoder limiar/e5-small-enpt"
    assert done.stderr == f"{made_with}, not BAAI/bge-m3:cls; leave --encoder out\n"


@pytest.mark.parametrize(
    ("made_with", "hint"),
    [
        ("BAAI/bge-m3:cls", "use --encoder BAAI/bge-m3 --pooling cls"),
        ("text-embedding-3-small", "use --encoder openai:text-embedding-3-small"),
        ("mine", "open it in Python, with that encoder"),
    ],
)
def test_how_to_name_the_encoder_of_an_index(limiar: Run, index: Path, made_with: str, hint: str) -> None:
    manifest = json.loads((index / "manifest.json").read_bytes())
    (index / "manifest.json").write_text(json.dumps({**manifest, "encoder": made_with}), encoding="utf-8")
    done = limiar("search", "licitação")
    assert done.returncode == 2
    assert f"was made with the encoder {made_with}, not limiar/e5-small-enpt; {hint}\n" in done.stderr
    assert limiar("index", "verify").returncode == 0
    assert made_with in limiar("index", "stats").stdout


INTERRUPTED = """
import sys
from limiar.embeddings.bundled import BundledEncoder
from limiar.cli import main

embed = BundledEncoder.embed_documents

def slow(self, texts, **options):
    vectors = embed(self, texts, **options)
    slow.batches += 1
    if slow.batches == 4:  # two for each batch of documents: in the midst of the second
        print("ready", flush=True)
        sys.stdin.readline()
    return vectors

slow.batches = 0
BundledEncoder.embed_documents = slow
sys.exit(main())
"""


def test_ctrl_c_says_what_is_kept_and_the_next_run_continues(limiar: Run, environment: dict[str, str]) -> None:
    rows = [{"_id": str(number), "text": f"Item {number}"} for number in range(1100)]
    wrote("a.jsonl", "\n".join(map(json.dumps, rows)))
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, "index", "a.jsonl"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.startswith("limiar: interrupted; limiar-index holds 500 documents. The same command continues")
    assert "Traceback" not in error
    done = limiar("index", "a.jsonl")
    assert done.stdout.splitlines() == [
        "limiar-index: 1,100 documents",
        "  600 added, 0 replaced, 500 unchanged",
        f"  {1100 - 500 - 256} texts embedded",
    ]
    assert limiar("index", "verify").returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
def test_the_bar_on_a_terminal(command: list[str], environment: dict[str, str]) -> None:
    import pty

    wrote("a.jsonl", NEW)
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*command, "index", "a.jsonl"], stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL, timeout=120,
        env={**environment, "TERM": "xterm", "COLUMNS": "160"}, check=False,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert done.stdout.decode().startswith("limiar-index: 1 documents")
    assert "indexing into limiar-index" in shown
    assert "1 documents, " in shown


# Health


def test_verify_and_repair(limiar: Run, index: Path) -> None:
    assert limiar("index", "verify").stdout.splitlines() == ["3 documents", "bm25: in order", "dense: in order"]
    shutil.rmtree(index / "bm25")
    broken = limiar("index", "verify", index)
    assert broken.returncode == 1
    assert broken.stdout.splitlines()[1].startswith("bm25: no limiar-bm25 index in")
    repaired = limiar("index", "repair", "--index", index)
    assert repaired.returncode == 0, repaired.stderr
    assert repaired.stdout.splitlines()[0] == "Before the repair:"
    assert repaired.stdout.splitlines()[-4:] == ["After it:", "3 documents", "bm25: in order", "dense: in order"]
    assert limiar("index", "verify").returncode == 0
    assert limiar("index", "repair").stdout.splitlines()[0] == "3 documents"


def test_stats(limiar: Run, index: Path) -> None:
    shown = " ".join(limiar("index", "stats", index).stdout.split())
    for part in ("documents │ 3", "title (weight 1), text (weight 1)", "pt", "limiar/e5-small-enpt", "bm25, dense"):
        assert part in shown


@pytest.mark.parametrize("action", ["verify", "repair", "stats"])
def test_health_of_no_index(limiar: Run, action: str) -> None:
    done = limiar("index", action, "nowhere")
    assert done.returncode == 2
    assert done.stderr == ("limiar: no limiar-hybrid index in nowhere (manifest.json is missing); create one first\n")
    assert "expected one folder" in limiar("index", action, "a", "--index", "b").stderr


def test_a_file_called_verify(limiar: Run) -> None:
    wrote("verify", NEW)
    assert limiar("index", "verify", "--format", "jsonl").returncode == 0
    assert ids() == ["novo"]
    assert limiar("index", "./verify", "--format", "jsonl").returncode == 0


def test_an_index_that_another_process_writes(limiar: Run, index: Path) -> None:
    wrote("a.jsonl", NEW)
    with HybridIndex.open(index) as writer:
        done = limiar("index", "a.jsonl")
        assert done.returncode == 2
        assert "another writer has" in done.stderr
        writer.add([IndexDocument("x", {"text": "leilão"})])
        assert "x" in limiar("search", "leilão").stdout
