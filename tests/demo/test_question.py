"""One question: `limiar demo --question`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from limiar.demo.index import DemoIndex
from limiar.embeddings.bundled import shared_encoder
from limiar.evaluation.dataset import Passage

Run = Callable[..., CompletedProcess[str]]


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("repactuação", "Repactuação em contratos de mão de obra"),
        ("OOMKilled", "Exit code 137 in a pod"),
    ],
)
def test_an_answer(limiar: Run, db: Path, question: str, title: str) -> None:
    done = limiar("demo", "--db", db, "--question", question)
    assert done.returncode == 0, done.stderr
    assert f"Question: {question}" in done.stdout
    assert re.search(r"#1 .* 0\.\d\d ", done.stdout)
    assert "+ kept as [1]" in done.stdout
    assert f"─ [1] {title}" in done.stdout
    assert "- 0." in done.stdout
    assert "nothing relevant" not in done.stdout


@pytest.mark.parametrize(
    "question", ["Qual o ponto certo do pão de queijo com polvilho azedo?", "Who scored the most goals in 2002?"]
)
def test_no_answer(limiar: Run, db: Path, question: str) -> None:
    done = limiar("demo", "--db", db, "--question", question)
    assert done.returncode == 0, done.stderr
    assert "I found nothing relevant / Não encontrei nada relevante" in done.stdout
    assert "NOT TRUSTED" in done.stdout
    assert "! fallback, 0." in done.stdout
    assert "kept as" not in done.stdout


def test_a_question_cannot_drive_the_terminal(limiar_process: Run, db: Path) -> None:
    done = limiar_process("demo", "--db", db, "--question", "quorum \x1b[2J\x07[bold]cluster[/bold] :smile:")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert "quorum [2J[bold]cluster[/bold] :smile:" in done.stdout


def test_a_terminal_that_lacks_letters(limiar_process: Run, db: Path) -> None:
    done = limiar_process("demo", "--db", db, "--question", "O que é repactuação?", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "repactua??o" in done.stdout


def test_a_store_is_used_again(limiar: Run, db: Path) -> None:
    done = limiar("demo", "--db", db, "--question", "quorum")
    assert "index: 0 passages embedded, 195 there already" in done.stdout


def test_only_what_changed_is_embedded_again(tmp_path: Path) -> None:
    one, two, other = (Passage(f"p{n}", "", f"Passage {n}", {}) for n in range(3))
    changed = Passage("p1", "", "Another text", {})

    def fill(*passages: Passage) -> tuple[int, list[tuple[int, int]], list[str]]:
        calls: list[tuple[int, int]] = []
        index = DemoIndex(tmp_path, shared_encoder())
        new = index.fill(passages, lambda done, total: calls.append((done, total)))
        found = [hit.passage.text for hit in index.search("passage", 10)]
        index.close()
        return new, calls, sorted(found)

    assert fill(one, two) == (2, [(0, 2), (2, 2)], ["Passage 0", "Passage 1"])
    assert fill(one, two) == (0, [(0, 0)], ["Passage 0", "Passage 1"])
    assert fill(one, changed, other) == (2, [(0, 2), (2, 2)], ["Another text", "Passage 0", "Passage 2"])
    assert fill(one) == (0, [(0, 0)], ["Passage 0"])
