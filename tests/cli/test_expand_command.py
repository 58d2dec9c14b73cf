"""`limiar expand`, against a server that speaks OpenAI's API over real HTTP."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

pytest.importorskip("chromadb")
pytest.importorskip("tantivy")
pytest.importorskip("openai")

from limiar import ExpansionStore, HybridIndex

from .conftest import KEY, Reply, Server, refused, said

Run = Callable[..., CompletedProcess[str]]

FILES = """\
{"_id": "art75", "title": "Dispensa", "text": "É dispensável a licitação de pequeno valor."}
{"_id": "quorum", "text": "Sem quórum, o cluster recusa gravações."}
"""
WORDS = {
    "Dispensa\nÉ dispensável a licitação de pequeno valor.": [{"term": "licitação", "synonyms": ["certame"]}],
    "Sem quórum, o cluster recusa gravações.": [{"term": "cluster", "synonyms": ["agrupamento"]}],
}


def answer(document: str) -> Reply:
    return said(json.dumps({"keywords": WORDS[document]}))


@pytest.fixture(autouse=True)
def model(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options that name the server's model."""
    server.answer = answer
    monkeypatch.setenv("CHAVE", KEY)
    Path("corpus.jsonl").write_text(FILES, encoding="utf-8")
    return ["--model", "fake", "--base-url", server.url, "--api-key-env", "CHAVE"]


@pytest.fixture(scope="session")
def kept(limiar: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of FILES with a view of generated texts, to copy."""
    folder = tmp_path_factory.mktemp("views")
    (folder / "corpus.jsonl").write_text(FILES, encoding="utf-8")
    words = ("--index", folder / "index", "--views", "text,keywords,both", "--text-weight", "2")
    done = limiar("index", folder / "corpus.jsonl", *words)
    assert done.returncode == 0, done.stderr
    return folder / "index"


@pytest.fixture
def views(kept: Path, tmp_path: Path) -> Path:
    shutil.copytree(kept, tmp_path / "limiar-index")
    return tmp_path / "limiar-index"


def row(done: CompletedProcess[str], name: str) -> str:
    """A value of the table that was printed."""
    assert done.returncode == 0, done.stderr
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    return dict(cells)[name]


def found(done: CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["id"] for line in done.stdout.splitlines()]


# An index


def test_the_words_are_written_into_the_index(limiar: Run, views: Path, server: Server, model: list[str]) -> None:
    before = limiar("search", "certame", "--arms", "bm25", "--json")
    assert before.stdout == ""
    done = limiar("expand", *model, "--price-in", "1", "--price-out", "10")
    assert [row(done, name) for name in ("done", "known before", "failed", "unanswered")] == ["2", "0", "0", "0"]
    assert [row(done, name) for name in ("tokens read", "tokens written", "cost")] == ["200", "40", "US$ 0.0006"]
    assert "2 documents changed, 0 unchanged" in done.stdout
    assert {request["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    for view in ((), ("--index-on", "both"), ("--index-on", "keywords")):
        assert found(limiar("search", "certame", "--arms", "bm25", "--json", *view)) == ["art75"]
    assert limiar("search", "certame", "--arms", "bm25", "--index-on", "text").stdout == ""


def test_generated_words_are_never_the_text(limiar: Run, views: Path, model: list[str]) -> None:
    limiar("expand", *model)
    line = json.loads(limiar("search", "certame", "-k", "1", "--json").stdout)
    assert line["fields"] == {"title": "Dispensa", "text": "É dispensável a licitação de pequeno valor."}
    assert line["generated"] == {"keywords": "licitação certame"}
    assert "certame" not in limiar("search", "certame", "-k", "1").stdout


def test_a_second_run_asks_nothing(limiar: Run, views: Path, server: Server, model: list[str]) -> None:
    limiar("expand", views, *model, "--no-apply")
    again = limiar("expand", views, *model)
    assert [row(again, name) for name in ("done", "known before")] == ["0", "2"]
    assert "2 documents changed" in again.stdout
    assert "0 documents changed, 2 unchanged" in limiar("expand", views, *model, "--limit", "0").stdout
    assert len(server.requests) == 2


def test_what_files_filled_is_known_for_their_index(limiar: Run, views: Path, server: Server, model: list[str]) -> None:
    limiar("expand", "corpus.jsonl", *model)
    assert Path("keywords.sqlite").exists()
    assert row(limiar("expand", views, "--store", "keywords.sqlite", *model), "known before") == "2"
    assert len(server.requests) == 2


def test_the_index_is_free_while_the_model_answers(limiar: Run, views: Path, server: Server, model: list[str]) -> None:
    locked: list[bool] = []

    def looking(document: str) -> Reply:
        with HybridIndex.open(views):
            locked.append(False)
        return answer(document)

    server.answer = looking
    limiar("expand", *model, "--concurrency", "1")
    assert locked == [False, False]


def test_an_index_without_the_view_is_refused_before_any_call(
    limiar: Run,
    index: Path,
    server: Server,
    model: list[str],
) -> None:
    done = limiar("expand", *model)
    assert done.returncode == 2
    assert "limiar index ... --views text,both" in done.stderr
    assert not server.requests


def test_the_views_of_an_index_stay(limiar: Run, views: Path) -> None:
    same = limiar("index", "corpus.jsonl", "--views", "both,text,keywords", "--text-weight", "2")
    assert same.returncode == 0, same.stderr
    other = limiar("index", "corpus.jsonl", "--views", "text,both")
    assert other.returncode == 2
    assert "was made with --views text,keywords,both" in other.stderr
    assert "--text-weight 2, not 3" in limiar("index", "corpus.jsonl", "--text-weight", "3").stderr
    unknown = limiar("index", "corpus.jsonl", "--index", "new", "--views", "texto")
    assert unknown.returncode == 2
    assert not Path("new").exists()


def test_a_trial_of_another_model_leaves_the_others_words(limiar: Run, views: Path, model: list[str]) -> None:
    limiar("expand", *model)
    trial = limiar("expand", *model, "--keywords", "5", "--limit", "1")
    assert "0 documents changed, 2 unchanged" in trial.stdout, trial.stderr
    assert found(limiar("search", "agrupamento", "--arms", "bm25", "--json")) == ["quorum"]
    whole = limiar("expand", *model, "--keywords", "5", "--limit", "0")
    assert "1 documents changed, 1 unchanged" in whole.stdout
    assert found(limiar("search", "agrupamento", "--arms", "bm25", "--json")) == []


# Before the run


def test_a_dry_run_sends_and_writes_nothing(limiar: Run, views: Path, server: Server, model: list[str]) -> None:
    done = limiar("expand", *model, "--dry-run", "--price-in", "1000", "--price-out", "1000")
    assert [row(done, name) for name in ("documents", "to expand", "calls")] == ["2", "2", "2"]
    assert float(row(done, "cost, about").removeprefix("US$ ")) > 0
    assert not server.requests
    assert not (views / "keywords.sqlite").exists()
    limiar("expand", *model, "--limit", "1")
    assert row(limiar("expand", *model, "--dry-run"), "to expand") == "1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "neither is given of --model NAME"),
        (["--model", "fake", "--offline"], "both are given"),
        (["--offline", "--questions", "3"], "--questions is for a language model"),
        (["--model", "fake", "--api-key-env", "NADA"], "no such environment variable"),
        (["--model", "fake", "--price-in", "1"], "expected both"),
        (["--model", "fake", "--price-in", "nan", "--price-out", "1"], "expected both"),
        (["--model", "fake", "--prompt", "nada.txt"], "--prompt nada.txt cannot be read"),
        (["--model", "fake", "--keywords", "0"], "ask for nothing"),
        (["--model", "fake"], "OPENAI_API_KEY"),
        (["--offline", "--limit", "-1"], "--limit=-1"),
    ],
)
def test_options_that_cannot_be(limiar: Run, options: list[str], message: str) -> None:
    done = limiar("expand", "corpus.jsonl", *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert not Path("keywords.sqlite").exists()


def test_a_bad_line_is_met_before_any_call(limiar: Run, server: Server, model: list[str]) -> None:
    Path("bad.jsonl").write_text(f"{FILES}{{\n", encoding="utf-8")
    done = limiar("expand", "bad.jsonl", *model)
    assert done.returncode == 2
    assert "bad.jsonl:3" in done.stderr
    assert not server.requests
    assert row(limiar("expand", "bad.jsonl", "--skip-bad-lines", *model), "done") == "2"


def test_standard_input_and_a_prompt_of_ones_own(limiar: Run, server: Server, model: list[str]) -> None:
    Path("prompt.txt").write_text("Responda {form} com {keywords} termos.", encoding="utf-8")
    options = (*model, "--prompt", "prompt.txt", "--keywords", "3", "--max-tokens", "50")
    done = limiar("expand", "-", *options, stdin=FILES.encode())
    assert row(done, "done") == "2"
    assert server.requests[0]["messages"][0]["content"].endswith(" com 3 termos.")
    assert server.requests[0]["max_tokens"] == 50
    Path("prompt.txt").rename("outro.txt")
    moved = ("outro.txt" if word == "prompt.txt" else word for word in options)
    assert row(limiar("expand", "corpus.jsonl", *moved), "known before") == "2"


# What goes wrong


def test_failures_are_counted_shown_and_asked_again(limiar: Run, server: Server, model: list[str]) -> None:
    server.answer = lambda document: said("Não posso ajudar com isso.") if "cluster" in document else answer(document)
    done = limiar("expand", "corpus.jsonl", *model)
    assert row(done, "failed") == "1 (1 refused)"
    assert "--retry-failed" in done.stderr
    command = done.stderr.split("`")[1].split()
    assert command == ["limiar", "expand", "show", "--store", "keywords.sqlite"]
    listed = limiar(*command[1:]).stdout
    assert "quorum" in listed
    assert "art75" not in listed
    assert "Não posso ajudar com isso." in limiar("expand", "show", "quorum").stdout
    server.answer = answer
    assert row(limiar("expand", "corpus.jsonl", *model), "known before") == "2"
    assert row(limiar("expand", "corpus.jsonl", *model, "--retry-failed"), "done") == "1"
    assert "nothing failed" in limiar("expand", "show").stderr


def test_a_run_that_ends_early_says_what_is_kept(limiar: Run, server: Server, model: list[str]) -> None:
    server.answer = lambda document: refused(401) if "cluster" in document else answer(document)
    done = limiar("expand", "corpus.jsonl", *model, "--concurrency", "1")
    assert done.returncode == 2
    assert "not finished; keywords.sqlite keeps the words of 1 documents" in done.stderr
    assert KEY not in done.stdout + done.stderr


def test_documents_without_an_answer_are_asked_again(limiar: Run, server: Server, model: list[str]) -> None:
    server.answer = lambda document: refused(422) if "cluster" in document else answer(document)
    done = limiar("expand", "corpus.jsonl", *model)
    assert done.returncode == 1
    assert "1 documents got no answer" in done.stderr
    assert "unanswered" in limiar("expand", "show").stdout
    server.answer = answer
    assert row(limiar("expand", "corpus.jsonl", *model), "done") == "1"


def test_ctrl_c_as_a_process(
    command: list[str],
    environment: dict[str, str],
    server: Server,
    model: list[str],
) -> None:
    words = [*command, "expand", "corpus.jsonl", *model, "--concurrency", "1"]
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, env={**environment, "CHAVE": KEY}, text=True, encoding="utf-8"
    )

    def interrupting(document: str) -> Reply:
        if len(server.requests) == 2:
            process.send_signal(signal.SIGINT)
        return answer(document)

    server.answer = interrupting
    _, said_then = process.communicate(timeout=60)
    assert process.returncode == 130, said_then
    assert "interrupted; keywords.sqlite keeps the words of" in said_then
    assert "The same command goes on" in said_then
    again = subprocess.run(
        words, capture_output=True, env={**environment, "CHAVE": KEY}, text=True, encoding="utf-8", check=False,
        timeout=60,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    assert len(server.requests) == 2


# Without a language model


def test_offline_words_are_kept_like_a_models(limiar: Run, views: Path, server: Server) -> None:
    done = limiar("expand", "--offline", "--keywords", "4")
    assert [row(done, name) for name in ("done", "unanswered")] == ["2", "0"]
    assert "2 documents changed" in done.stdout
    assert "tokens read" not in done.stdout
    assert row(limiar("expand", "--offline", "--keywords", "4"), "known before") == "2"
    assert "cluster" in limiar("expand", "show", "quorum").stdout
    assert row(limiar("expand", "--offline", "--dry-run"), "to expand") == "2"
    store = ExpansionStore(views / "keywords.sqlite")
    assert [recipe.model for recipe in store.recipes()] == ["limiar-offline-1-pt-4-2"]
    store.close()
    assert not server.requests
