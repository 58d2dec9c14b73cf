"""The judged questions, on the real parts: Chroma, the bundled encoder, the bundled scorer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from limiar.demo.measure import Outcome, measure
from limiar.demo.session import examples, spread
from limiar.evaluation.dataset import Question, load_demo

Run = Callable[..., CompletedProcess[str]]

LINE = re.compile(r"^(\w+) +.+ \d -> \d", re.MULTILINE)
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


@pytest.fixture(scope="module")
def whole(limiar_process: Run, db: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The output of the whole set, and its JSON."""
    path = tmp_path_factory.mktemp("json") / "measurements.json"
    done = limiar_process("demo", "--db", db, "--json", path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout, json.loads(path.read_text(encoding="utf-8"))


def test_the_whole_set_is_measured(whole: tuple[str, dict[str, Any]]) -> None:
    numbers, collection = whole[1]["measurements"], load_demo()
    count = len(collection.questions)
    assert numbers["questions"] == count
    assert numbers["unanswerable"] == sum(not collection.qrels.get(q.id) for q in collection.questions)
    assert numbers["before"]["passages"] == count * 5
    assert numbers["after"]["passages"] <= count * 3
    assert numbers["false_alarms"] + numbers["flagged"] == numbers["unanswerable"]
    assert numbers["warm"]["count"] == count
    assert numbers["cold"]["count"] == 20
    assert 0 < numbers["warm"]["mean"] < numbers["cold"]["mean"]


def restored(row: dict[str, Any]) -> Outcome:
    relevant, before, after = frozenset(row["relevant"]), tuple(row["before"]), tuple(row["after"])
    return Outcome(**{**row, "relevant": relevant, "before": before, "after": after})


def test_the_measurements_follow_from_the_outcomes_and_the_judgments(whole: tuple[str, dict[str, Any]]) -> None:
    collection = load_demo()
    outcomes = [restored(row) for row in whole[1]["questions"]]
    assert [o.question for o in outcomes] == [q.id for q in collection.questions]
    assert all(o.relevant == set(collection.qrels.get(o.question, {})) for o in outcomes)
    assert measure(outcomes).as_dict() == whole[1]["measurements"]


def test_the_target_for_irrelevant_passages(whole: tuple[str, dict[str, Any]]) -> None:
    assert whole[1]["measurements"]["reduction"] >= 0.625


def test_the_target_for_relevant_passages(whole: tuple[str, dict[str, Any]]) -> None:
    assert whole[1]["measurements"]["recall_ratio"] >= 0.95


def test_questions_without_an_answer_raise_few_false_alarms(whole: tuple[str, dict[str, Any]]) -> None:
    numbers = whole[1]["measurements"]
    assert f"unanswerable ({numbers['unanswerable']}): false alarms (4)" in whole[0]
    assert numbers["false_alarms"] <= 2


def test_the_output_of_the_whole_set(whole: tuple[str, dict[str, Any]]) -> None:
    text = whole[0]
    assert not CONTROL.search(text)
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("Example ") == 3
    assert text.count("the kept passages themselves") == 1
    assert LINE.findall(text) == [question.id for question in load_demo().questions]
    assert text.index("Example ") < text.index("relevant  irrelevant") < text.index("irrelevant among them (1)")


def test_an_unanswerable_question_is_among_the_examples(whole: tuple[str, dict[str, Any]]) -> None:
    collection = load_demo()
    shown = re.findall(r"^Example (\w+) ", whole[0], re.MULTILINE)
    assert [bool(collection.qrels.get(id_)) for id_ in shown] == [True, True, False]


def test_a_part_of_the_set(limiar: Run, db: Path) -> None:
    done = limiar("demo", "--db", db, "--limit", "12")
    assert done.returncode == 0, done.stderr
    assert LINE.findall(done.stdout) == [question.id for question in spread(load_demo().questions, 12)]
    assert "12 questions" in done.stdout
    assert not CONTROL.search(done.stdout)


def test_other_settings_reach_the_chain(limiar: Run, db: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    settings = ("--threshold", "0", "--top-k", "5", "--candidates", "7", "--fallback", "empty", "--keywords", "none")
    done = limiar("demo", "--db", db, "--limit", "3", "--json", path, *settings)
    assert done.returncode == 0, done.stderr
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["settings"]["candidates"] == 7
    assert content["settings"]["fallback"] == "empty"
    assert content["settings"]["keywords"] == "none"
    assert content["measurements"]["after"]["passages"] == 3 * 5
    assert "- over top_k 5" in done.stdout


def test_an_empty_fallback_returns_nothing(limiar: Run, db: Path) -> None:
    done = limiar("demo", "--db", db, "--question", "bolo de cenoura", "--threshold", "1", "--fallback", "empty")
    assert "The fallback 'empty' returns no passage." in done.stdout


def questions(*kinds: str) -> list[Question]:
    return [Question(f"q{n}", "?", dict(zip(("lang", "kind"), k.split(), strict=True))) for n, k in enumerate(kinds)]


def test_a_limit_is_spread_over_the_set() -> None:
    some = questions(*["pt question"] * 10)
    assert [question.id for question in spread(some, 4)] == ["q0", "q2", "q5", "q7"]
    assert spread(some, None) == spread(some, 10) == spread(some, 99) == some


def test_examples_are_one_of_each_kind_whatever_their_outcome() -> None:
    some = questions("pt one-word", "pt question", "en long", "pt question", "en unanswerable")
    relevant = {question.id: frozenset("x" if question.id != "q4" else "") for question in some}
    assert [question.id for question in examples(some, relevant)] == ["q1", "q2", "q4"]
    assert [question.id for question in examples(some[:1], relevant)] == ["q0"]
