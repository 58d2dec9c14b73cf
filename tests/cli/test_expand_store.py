"""`limiar expand show`, `edit`, `export`, `import`, `stats` and `apply`."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

pytest.importorskip("chromadb")
pytest.importorskip("tantivy")

from limiar import Expansion, ExpansionStore, Keyword, Outcome, Recipe

Run = Callable[..., CompletedProcess[str]]

LAWS = (
    '{"_id": "art75", "title": "Dispensa", "text": "É dispensável a licitação de pequeno valor."}\n'
    '{"_id": "quorum", "text": "Sem quórum, o cluster recusa gravações."}\n'
)
LAW, QUORUM = "Dispensa\nÉ dispensável a licitação de pequeno valor.", "Sem quórum, o cluster recusa gravações."
MODEL = Recipe("fake", "{}", "abc", "2")


@pytest.fixture(scope="session")
def kept(limiar: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with words of a model for one document, and a failure for the other, to copy."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "laws.jsonl").write_text(LAWS, encoding="utf-8")
    done = limiar("index", folder / "laws.jsonl", "--index", folder / "index", "--views", "text,both")
    assert done.returncode == 0, done.stderr
    store = ExpansionStore(folder / "index" / "keywords.sqlite")
    store.name_documents([("art75", LAW), ("quorum", QUORUM)])
    expansion = Expansion((Keyword("licitação", ("certame",)),), ("Quando se dispensa?",), "Vale para pouco dinheiro.")
    store.put(MODEL, LAW, Outcome("done", expansion, calls=1, prompt_tokens=1_000, completion_tokens=234))
    store.put(MODEL, QUORUM, Outcome("failed", reason="form: it is no list", raw="Claro! [bold]Aqui\x1b[2J está"))
    store.close()
    return folder / "index"


@pytest.fixture
def index(kept: Path, tmp_path: Path) -> Path:
    shutil.copytree(kept, tmp_path / "limiar-index")
    return tmp_path / "limiar-index"


def found(limiar: Run, query: str, index: Path = Path("limiar-index")) -> list[str]:
    done = limiar("search", query, "--index", index, "--arms", "bm25", "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["id"] for line in done.stdout.splitlines()]


def refused(done: CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stdout
    return done.stderr


# Looking


def test_an_entry_is_shown_whole(limiar: Run, index: Path) -> None:
    shown = limiar("expand", "show", "art75").stdout
    for part in ("done", "licitação: certame", "Quando se dispensa?", "Vale para pouco dinheiro.", "fake 2"):
        assert part in shown


def test_the_raw_text_of_a_failure_cannot_drive_the_terminal(limiar: Run, index: Path) -> None:
    shown = limiar("expand", "show", "quorum").stdout
    assert "Claro! [bold]Aqui[2J está" in shown
    assert "\x1b" not in shown


def test_stats_has_a_row_for_each_recipe(limiar: Run, index: Path) -> None:
    cells = [cell.strip() for cell in limiar("expand", "stats").stdout.splitlines()[3].split("│")[1:-1]]
    assert cells == [MODEL.fingerprint[:8], "fake", "2", "1", "0", "1", "0", "0", "1,234"]


def test_a_store_that_is_not_there_is_not_made(limiar: Run) -> None:
    assert "there is no store keywords.sqlite" in refused(limiar("expand", "stats"))
    assert not Path("keywords.sqlite").exists()
    assert "holds no index" in refused(limiar("expand", "stats", "--index", "nada"))


def test_a_file_of_that_name_is_a_file(limiar: Run) -> None:
    Path("stats").write_text("Um texto.", encoding="utf-8")
    assert "neither is given of --model" in refused(limiar("expand", "stats", "--format", "txt"))


# Editing


def test_an_edit_goes_into_the_index_by_apply(limiar: Run, index: Path) -> None:
    done = limiar(
        "expand", "edit", "quorum", "--set", '{"keywords": [{"term": "cluster", "synonyms": ["agrupamento"]}]}'
    )
    assert done.returncode == 0, done.stderr
    assert f"limiar expand apply --index limiar-index --recipe {MODEL.fingerprint[:8]}" in done.stderr
    assert found(limiar, "agrupamento") == []
    assert "2 documents changed" in limiar("expand", "apply").stdout
    assert found(limiar, "agrupamento") == ["quorum"]
    assert "edited" in limiar("expand", "show", "quorum").stdout


def test_an_editor_is_opened_on_the_entry(limiar: Run, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.write_text(p.read_text().replace('certame', 'pregão'))"
    )
    Path("editor.py").write_text(program.replace("_text()", "_text('utf-8')"), encoding="utf-8")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{sys.executable} editor.py")
    assert limiar("expand", "edit", "art75").returncode == 0
    shown = limiar("expand", "show", "art75").stdout
    assert "licitação: pregão" in shown
    assert "Vale para pouco dinheiro." in shown
    assert "nothing was changed" in limiar("expand", "edit", "art75").stderr


def test_what_an_editor_broke_is_kept_in_its_file(limiar: Run, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("editor.py").write_text("import sys; open(sys.argv[1], 'w').write('{quase')", encoding="utf-8")
    monkeypatch.setenv("VISUAL", f"{sys.executable} editor.py")
    message = refused(limiar("expand", "edit", "art75"))
    path = Path(message.split("your text is in ")[1].strip())
    assert path.read_text(encoding="utf-8") == "{quase"
    path.unlink()
    assert "licitação: certame" in limiar("expand", "show", "art75").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["art75", "--set", "{quase"], "is no JSON"),
        (["art75", "--set", '["certame"]'], "is no JSON object"),
        (["art75", "--set", '{"keywords": "certame"}'], "expected a list"),
        (["art75", "--set", '{"keyword": ["a"]}'], "'keyword' is no part of an entry; expected keywords, questions"),
        (["nada", "--set", "{}"], "knows no document 'nada'"),
        (["art75", "--set", "{}", "--recipe", "zzz"], "names 0 of them"),
        (["art75"], "neither $VISUAL nor $EDITOR"),
    ],
)
def test_edits_that_cannot_be(
    limiar: Run, index: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    assert message in refused(limiar("expand", "edit", *words))
    assert "licitação: certame" in limiar("expand", "show", "art75").stdout


@pytest.mark.parametrize(
    ("editor", "message"),
    [
        ("no-such-editor", "the editor 'no-such-editor' cannot be run (No such file or directory)"),
        ('vi "', "cannot be run (No closing quotation)"),
        ("{python} -c 'raise SystemExit(3)'", "ended with status 3; nothing was changed"),
        ("{python} -c 'import os, sys; os.unlink(sys.argv[1])'", "left no file to read (No such file or directory)"),
    ],
)
def test_an_editor_that_fails(
    limiar: Run, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, editor: str, message: str
) -> None:
    monkeypatch.setenv("VISUAL", editor.format(python=sys.executable))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    error = refused(limiar("expand", "edit", "art75"))
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.glob("limiar-*.json")) == []
    assert "licitação: certame" in limiar("expand", "show", "art75").stdout


def test_the_command_to_apply_names_the_store_that_was_edited(limiar: Run, index: Path) -> None:
    shutil.copy(index / "keywords.sqlite", "my words.sqlite")
    words = ["--store", "my words.sqlite", "--index", str(index)]
    done = limiar("expand", "edit", "art75", "--set", '{"keywords": ["compra"]}', *words)
    command = shlex.split(done.stderr.split("`")[1])
    assert limiar(*command[1:]).returncode == 0
    assert found(limiar, "compra") == ["art75"]


def test_words_for_an_index_without_a_view_of_them(limiar: Run, index: Path) -> None:
    Path("laws.jsonl").write_text(LAWS, encoding="utf-8")
    limiar("index", "laws.jsonl", "--index", "plain")
    error = refused(limiar("expand", "apply", "--index", "plain", "--store", index / "keywords.sqlite"))
    assert "plain was made without a view of generated texts: make one with `limiar index ... --views" in error


def test_another_indexs_store_takes_no_words_away(limiar: Run, index: Path, tmp_path: Path) -> None:
    assert limiar("expand", "apply", "--index", index).returncode == 0
    other = ExpansionStore(tmp_path / "other.sqlite")
    other.put(MODEL, "Another text.", Outcome("done", Expansion((Keyword("texto"),))))
    other.close()
    done = limiar("expand", "apply", "--index", index, "--store", tmp_path / "other.sqlite")
    assert done.returncode == 2
    assert f"has words of fake for no document of {index}; nothing was written there" in done.stderr
    assert found(limiar, "certame", index) == ["art75"]


# Files


def test_lines_are_imported_as_they_are(limiar: Run, index: Path) -> None:
    lines = ['{"_id": "quorum", "keywords": ["agrupamento", "maioria dos nós"]}', '{"_id": "nada", "keywords": ["x"]}']
    Path("words.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (index / "keywords.sqlite").unlink()
    done = limiar("expand", "import", "words.jsonl", "--index", index)
    assert done.returncode == 0, done.stderr
    assert "1 taken, 0 known and kept" in done.stdout
    assert "1 lines are of documents that neither" in done.stderr
    assert "1 documents changed, 1 unchanged" in limiar("expand", "apply").stdout
    assert found(limiar, "agrupamento") == ["quorum"]


def test_with_two_recipes_one_must_be_named(limiar: Run, index: Path) -> None:
    Path("words.jsonl").write_text('{"_id": "art75", "keywords": ["concorrência"]}\n', encoding="utf-8")
    limiar("expand", "import", "words.jsonl")
    assert "expected --recipe ID" in refused(limiar("expand", "apply"))
    other = Recipe.imported().fingerprint[:8]
    assert limiar("expand", "apply", "--recipe", other).returncode == 0
    assert found(limiar, "concorrência") == ["art75"]
    assert limiar("expand", "apply", "--recipe", MODEL.fingerprint[:8]).returncode == 0
    assert found(limiar, "concorrência") == []
    assert found(limiar, "certame") == ["art75"]


def test_an_export_fills_another_store(limiar: Run, index: Path) -> None:
    assert "words.jsonl: 2 lines" in limiar("expand", "export", "words.jsonl").stdout
    done = limiar("expand", "import", "words.jsonl", "--store", "other.sqlite")
    assert "2 taken" in done.stdout, done.stderr
    assert "licitação: certame" in limiar("expand", "show", "art75", "--store", "other.sqlite").stdout
    assert "0 taken, 2 known and kept" in limiar("expand", "import", "words.jsonl", "--store", "other.sqlite").stdout


def test_a_bad_line_of_a_file_is_named(limiar: Run, index: Path) -> None:
    Path("words.jsonl").write_text('{"_id": "art75", "keywords": ["a"]}\n{"_id": 7.5}\n', encoding="utf-8")
    assert "words.jsonl, line 2" in refused(limiar("expand", "import", "words.jsonl"))
