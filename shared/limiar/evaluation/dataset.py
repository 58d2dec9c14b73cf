"""Collections in BEIR's layout: `corpus.jsonl`, `queries.jsonl`, `qrels/<split>.tsv` or `qrels.tsv`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limiar.errors import InputError

BUNDLED_DEMO = Path(__file__).resolve().parent.parent / "demo" / "data"


@dataclass(frozen=True)
class Passage:
    """One document of a corpus."""

    id: str
    title: str
    text: str
    metadata: Mapping[str, Any]

    @property
    def full_text(self) -> str:
        """The title as a first sentence, then the text; the text alone where it has no title or begins with it."""
        if not self.title or self.text.startswith(self.title):
            return self.text
        return f"{self.title}. {self.text}"


@dataclass(frozen=True)
class Question:
    """One query of a collection."""

    id: str
    text: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Collection:
    """A corpus, its questions and their judgments.

    Attributes:
        name: the folder's name.
        passages: the corpus, in file order.
        questions: in file order; of one split, those with judgments or, where there are no splits, all.
        qrels: for each question id, the grade of each judged passage id.
    """

    name: str
    passages: tuple[Passage, ...]
    questions: tuple[Question, ...]
    qrels: Mapping[str, Mapping[str, int]]


def load_collection(folder: Path, split: str | None = None) -> Collection:
    """Read a collection.

    Args:
        folder: holds the files.
        split: reads `qrels/<split>.tsv` and keeps the questions judged there; None reads `qrels.tsv` and keeps all
            questions, also those that nothing in the corpus answers.

    Raises:
        InputError: a file is missing or cannot be read.
    """
    qrels_path = folder / "qrels.tsv" if split is None else folder / "qrels" / f"{split}.tsv"
    try:
        qrels = _read_qrels(qrels_path)
        passages = tuple(
            Passage(str(row["_id"]), str(row.get("title", "")), str(row["text"]), row.get("metadata") or {})
            for row in _read_jsonl(folder / "corpus.jsonl")
        )
        questions = tuple(
            Question(str(row["_id"]), str(row["text"]), row.get("metadata") or {})
            for row in _read_jsonl(folder / "queries.jsonl")
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{folder} is not a readable collection ({type(error).__name__}: {error}); expected BEIR's layout"
        raise InputError(msg) from error
    if split is not None:
        questions = tuple(question for question in questions if question.id in qrels)
    return Collection(folder.name, passages, questions, qrels)


def load_demo() -> Collection:
    """The demo corpus that ships with limiar: infrastructure support and public administration, pt and en."""
    return load_collection(BUNDLED_DEMO)


def _read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return qrels
