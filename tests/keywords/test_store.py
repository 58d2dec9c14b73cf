"""Expansions on disk: by hand, by file, and in the way of nobody."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from limiar import (
    ConfigurationError,
    Expander,
    Expansion,
    ExpansionPrompt,
    ExpansionStore,
    ExpansionStoreError,
    InputError,
    Keyword,
    Outcome,
    Recipe,
)

RECIPE = Recipe("model", "{}", "prompt", "1")
ONE = Expansion((Keyword("licitação", ("certame",)),), ("O que é licitação?",), "Licitação é a regra.")
TWO = Expansion((Keyword("contrato"),))


def test_an_outcome_comes_back_as_it_was(store: ExpansionStore) -> None:
    outcome = Outcome("failed", ONE, "form: no keywords", "raw \x00 text", 2, 10, 20, 0.5)
    store.put(RECIPE, "texto", outcome)
    store.close()
    entry = ExpansionStore(store.path).get(RECIPE, "texto")
    assert entry is not None
    assert entry.outcome == outcome
    assert store.get(RECIPE, "outro") is None
    assert store.get(Recipe("other", "{}", "prompt", "1"), "texto") is None


def test_a_finished_entry_is_not_replaced_by_a_later_outcome(store: ExpansionStore) -> None:
    store.put(RECIPE, "texto", Outcome("failed"))
    store.put(RECIPE, "texto", Outcome("done", ONE))
    store.put(RECIPE, "texto", Outcome("failed"))
    store.put(RECIPE, "texto", Outcome("done", TWO))
    assert store.usable(RECIPE, ["texto", "outro"]) == [ONE, Expansion()]
    store.edit(RECIPE, "texto", TWO)
    assert store.usable(RECIPE, ["texto"]) == [TWO]
    assert store.forget(RECIPE, "texto")
    assert not store.forget(RECIPE, "texto")


def test_entries_by_status_and_document(store: ExpansionStore) -> None:
    store.name_documents([("a", "x"), ("b", "x"), ("c", "y")])
    store.put(RECIPE, "x", Outcome("done", ONE, calls=1, prompt_tokens=5))
    store.put(RECIPE, "y", Outcome("failed", calls=2, prompt_tokens=7))
    store.put(RECIPE, "z", Outcome("done", TWO))
    assert {entry.ids for entry in store.entries()} == {("a", "b"), ("c",), ()}
    assert [entry.ids for entry in store.entries(status="failed")] == [("c",)]
    assert [entry.stale for entry in store.entries(stale=True)] == [True]
    stats = store.stats()
    assert (stats["done"], stats["failed"], stats["stale"], stats["calls"], stats["prompt_tokens"]) == (2, 1, 1, 3, 12)
    assert store.of_document("b")[0].outcome.expansion == ONE
    assert store.of_document("nobody") == []
    with pytest.raises(InputError, match="knows no document 'nobody'"):
        store.key_of_document("nobody")
    with pytest.raises(ConfigurationError, match="status='lost'"):
        next(store.entries(status="lost"))  # type: ignore[arg-type]


def test_many_entries_are_read_in_pages(store: ExpansionStore) -> None:
    with store.file.writing():
        pass
    store.import_jsonl(_lines(store.path.parent / "many.jsonl", 1_203), {str(n): f"t{n}" for n in range(1_203)})
    assert len({entry.text_hash for entry in store.entries()}) == 1_203
    assert len(store.usable(Recipe.imported(), [f"t{n}" for n in range(1_203)])) == 1_203


def _lines(path: Path, count: int) -> Path:
    rows = ({"_id": str(n), "keywords": [f"termo {n}"]} for n in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# Files of lines

DESK = (
    '{"_id": "13", "keywords": ["Tribunal", "Corte de Contas"]}\n\n'
    '{"_id": 30, "keywords": [{"term": "aposentadoria", "synonyms": ["jubilação"]}], "questions": ["Quem decide?"]}\n'
    '{"_id": "99", "keywords": ["sem documento"]}\n'
)


def test_a_file_of_keywords_by_id_is_imported_as_it_is(store: ExpansionStore, tmp_path: Path) -> None:
    path = tmp_path / "keywords.jsonl"
    path.write_text("\ufeff" + DESK, encoding="utf-8")
    texts = {"13": "Contas julgadas.", "30": "Aposentadoria do servidor."}
    imported = store.import_jsonl(path, texts)
    assert (imported.taken, imported.kept, imported.unknown) == (2, 0, 1)
    first, second = store.usable(Recipe.imported(), list(texts.values()))
    assert first == Expansion((Keyword("Tribunal"), Keyword("Corte de Contas")))
    assert second.fields()["keywords"] == "aposentadoria jubilação"
    assert store.import_jsonl(path, texts).kept == 2
    assert store.import_jsonl(path, texts, replace=True).taken == 2
    assert store.import_jsonl(path).kept == 2  # the store knows the documents by now


def test_imported_keywords_are_not_asked_for(store: ExpansionStore, tmp_path: Path) -> None:
    path = tmp_path / "keywords.jsonl"
    path.write_text(DESK, encoding="utf-8")
    texts = [("13", "Contas julgadas."), ("30", "Aposentadoria do servidor.")]

    def chat(_: object) -> str:
        raise AssertionError

    expander = Expander(chat, store, ExpansionPrompt())
    store.import_jsonl(path, texts, recipe=expander.recipe)
    assert expander.run(texts).reused == 2


def test_what_is_exported_comes_back(store: ExpansionStore, tmp_path: Path) -> None:
    store.name_documents([("a", "x"), ("b", "x"), ("c", "y")])
    store.edit(RECIPE, "x", ONE)
    store.put(RECIPE, "y", Outcome("failed", reason="form", raw="?"))
    store.put(RECIPE, "z", Outcome("done", TWO))
    path = tmp_path / "out.jsonl"
    assert store.export_jsonl(path) == 4
    other = ExpansionStore(tmp_path / "other.sqlite")
    assert other.import_jsonl(path, recipe=RECIPE).taken == 3  # "a" and "b" have one text
    assert other.usable(RECIPE, ["x", "y", "z"]) == [ONE, Expansion(), TWO]
    assert {(entry.outcome.status, entry.ids) for entry in other.entries()} == {
        ("edited", ("a", "b")), ("failed", ("c",)), ("done", ()),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "line 2 is not JSON"), ("[1]", "line 2 is list"), ('{"keywords": []}', "neither an _id"),
     ('{"_id": "a", "keywords": "x"}', "keywords is str; expected a list"),
     ('{"_id": "a", "keywords": [1]}', "a keyword is int"), ('{"_id": "a", "keywords": [" "]}', "a keyword is blank"),
     ('{"_id": "a", "keyword": ["x"]}', "line 2 has none of: keywords, questions, statement"),
     ('{"_id": "a", "title": "Um", "text": "Um texto."}', "none of: keywords, questions, statement"),
     ('{"_id": "a", "status": "lost"}', "unknown status"), ('{"text_sha256": "12"}', "neither an _id")],
)  # fmt: skip
def test_a_bad_line_is_named_and_nothing_is_taken(
    line: str, message: str, store: ExpansionStore, tmp_path: Path
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"_id": "1", "keywords": ["bom"]}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        store.import_jsonl(path, {"1": "texto", "a": "outro"})
    assert list(store.entries()) == []


def test_an_export_replaces_nothing_but_files(store: ExpansionStore, tmp_path: Path) -> None:
    store.put(RECIPE, "x", Outcome("done", ONE))
    device, link, file = tmp_path / "device", tmp_path / "link", tmp_path / "file.jsonl"
    os.mkfifo(device)
    link.symlink_to(file)
    for path in (device, tmp_path):
        with pytest.raises(ExpansionStoreError, match="is a folder or a device"):
            store.export_jsonl(path)
    assert device.is_fifo()
    assert store.export_jsonl(link) == 1
    assert link.is_symlink()
    assert file.read_text(encoding="utf-8").count("\n") == 1


def test_files_that_cannot_be_read_or_written(store: ExpansionStore, tmp_path: Path) -> None:
    with pytest.raises(ExpansionStoreError, match="cannot be read"):
        store.import_jsonl(tmp_path / "none.jsonl")
    with pytest.raises(ExpansionStoreError, match="cannot be written"):
        store.export_jsonl(tmp_path / "no" / "folder.jsonl")
    (tmp_path / "latin.jsonl").write_bytes('{"_id": "á"}'.encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        store.import_jsonl(tmp_path / "latin.jsonl")


# The file itself


def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(ExpansionStoreError, match="a database of another kind, not a store of expansions"):
        ExpansionStore(path).stats()
    assert path.read_bytes() == before
    (tmp_path / "text").write_text("no database at all, but long enough to be looked at" * 40)
    with pytest.raises(ExpansionStoreError, match="cannot be"):
        ExpansionStore(tmp_path / "text").stats()


def test_a_later_version_is_refused(store: ExpansionStore) -> None:
    store.stats()
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ExpansionStoreError, match="of version 99; this limiar reads 1"):
        ExpansionStore(store.path).stats()


def test_no_text_is_in_the_file(store: ExpansionStore) -> None:
    Expander(lambda _: '{"keywords": ["licitação", "contrato"]}', store).run([("a", "licitação segredo 123")])
    store.close()
    assert b"segredo" not in b"".join(file.read_bytes() for file in store.path.parent.iterdir())


def test_threads_write_at_once(store: ExpansionStore) -> None:
    def write(part: int) -> None:
        for number in range(50):
            store.put(RECIPE, f"{part} {number}", Outcome("done", ONE))

    threads = [threading.Thread(target=write, args=(part,)) for part in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.stats()["done"] == 300


def test_expansions_as_json_and_fields() -> None:
    assert Expansion.from_dict(json.loads(json.dumps(ONE.as_dict()))) == ONE
    assert ONE.fields() == {
        "keywords": "licitação certame", "questions": "O que é licitação?", "statement": "Licitação é a regra.",
    }  # fmt: skip
    assert not Expansion()
    with pytest.raises(InputError, match="statement is list"):
        Expansion.from_dict({"statement": []})
