"""Collections in BEIR's layout, and the one that ships."""

import unicodedata
from pathlib import Path

import pytest

from limiar.errors import InputError
from limiar.evaluation.dataset import Passage, load_collection, load_demo


def write(folder: Path, qrels: str = "query-id\tcorpus-id\tscore\nq1\td1\t2\n") -> Path:
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "title": "T", "text": "x"}\n\n', encoding="utf-8")
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "?"}\n{"_id": "q2", "text": "?"}\n', encoding="utf-8")
    (folder / "qrels.tsv").write_text(qrels, encoding="utf-8")
    (folder / "qrels").mkdir()
    (folder / "qrels" / "dev.tsv").write_text(qrels, encoding="utf-8")
    return folder


def test_reads_all_questions_without_a_split(tmp_path: Path) -> None:
    collection = load_collection(write(tmp_path))
    assert [question.id for question in collection.questions] == ["q1", "q2"]
    assert collection.qrels == {"q1": {"d1": 2}}


def test_a_split_keeps_its_judged_questions(tmp_path: Path) -> None:
    assert [question.id for question in load_collection(write(tmp_path), "dev").questions] == ["q1"]


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_a_missing_or_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / name).write_text("{not json", encoding="utf-8")
    if name != "qrels.tsv":
        with pytest.raises(InputError, match="not a readable collection"):
            load_collection(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=name):
        load_collection(tmp_path)


def test_full_text_puts_the_title_first_once() -> None:
    assert Passage("1", "Title", "Text.", {}).full_text == "Title. Text."
    assert Passage("1", "Title", "Title and text.", {}).full_text == "Title and text."
    assert Passage("1", "", "Text.", {}).full_text == "Text."


def test_the_demo_corpus_is_what_it_says() -> None:
    demo = load_demo()
    ids = {passage.id for passage in demo.passages}
    kinds = {question.id: question.metadata["kind"] for question in demo.questions}
    assert len(ids) == len(demo.passages) >= 150
    assert len(kinds) == len(demo.questions) >= 60
    assert sum(kind == "unanswerable" for kind in kinds.values()) >= 15
    assert {"one-word", "long", "keywords", "question"} < set(kinds.values())
    for question, kind in kinds.items():
        assert (question in demo.qrels) == (kind != "unanswerable")
    assert all(passage in ids for grades in demo.qrels.values() for passage in grades)
    assert all(unicodedata.is_normalized("NFC", passage.text) for passage in demo.passages)
    assert {passage.metadata["lang"] for passage in demo.passages} == {"pt", "en"}
