"""One question: `limiar demo --question`."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from rich.console import Console

from limiar import Expansion, ExpansionStore, HybridIndex, Keyword, OfflineExpander, OfflineGenerator
from limiar.demo.index import DemoIndex, Hit
from limiar.demo.pipeline import Exchange
from limiar.demo.show import show_exchange
from limiar.embeddings.bundled import shared_encoder
from limiar.evaluation.dataset import Passage, load_demo
from limiar.rerank import Reranker
from limiar.retrieval.index_results import AddReport
from limiar.testing import FakeScorer

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
    assert "index: 0 passages new, 195 there already" in done.stdout
    assert "keywords: 0 passages new, 195 there already" in done.stdout


def test_keywords_are_offline_by_default_and_said_to_be(limiar: Run, db: Path) -> None:
    done = limiar("demo", "--db", db, "--question", "repactuação")
    assert "keywords: written offline, by statistics and the bundled encoder (no LLM)" in done.stdout
    assert re.search(r"offline keywords: .*contrato contratual;", done.stdout)


def test_without_keywords(limiar: Run, tmp_path: Path) -> None:
    done = limiar("demo", "--db", tmp_path, "--question", "repactuação", "--keywords", "none")
    assert done.returncode == 0, done.stderr
    assert "keywords: none" in done.stdout
    assert "passages new" in done.stdout
    assert "offline" not in done.stdout
    with HybridIndex.open(tmp_path, read_only=True) as index:
        assert not any(document.generated for document in index.get(index.ids()))


FIRST = Passage("p0", "Diárias", "Diárias de viagem do servidor com pernoite", {})
SECOND = Passage("p1", "Passagens", "Passagens aéreas e diárias do servidor", {})
CHANGED = Passage("p1", "Passagens", "Bilhetes de ônibus da servidora", {})
OTHER = Passage("p2", "", "Férias do servidor: trinta dias", {})


def filled(folder: Path, *passages: Passage) -> tuple[AddReport, AddReport, list[Hit]]:
    """The two reports of the demo's index, and what it finds."""
    index = DemoIndex(folder, passages)
    try:
        added, written = index.fill(lambda *_: None), index.expand(lambda *_: None)
        index.settle()
        return added, written, list(index.search("servidor", 10, by_words=True).candidates)
    finally:
        index.close()


def ids(hits: list[Hit]) -> list[str]:
    return sorted(hit.passage.id for hit in hits)


def test_only_what_changed_is_embedded_and_expanded_again(tmp_path: Path) -> None:
    added, written, found = filled(tmp_path, FIRST, SECOND)
    assert (added.added, added.embedded, written.replaced) == (2, 2, 2)
    assert ids(found) == ["p0", "p1"]
    assert all(hit.words for hit in found)

    added, written, _ = filled(tmp_path, FIRST, SECOND)
    assert (added.unchanged, added.embedded, written.unchanged, written.embedded) == (2, 0, 2, 0)

    added, written, found = filled(tmp_path, FIRST, CHANGED, OTHER)
    assert (added.unchanged, added.replaced, added.added, added.embedded) == (1, 1, 1, 2)
    assert (written.unchanged, written.replaced) == (1, 2)
    assert ids(found) == ["p0", "p1", "p2"]
    assert CHANGED in [hit.passage for hit in found]

    assert [hit.passage for hit in filled(tmp_path, FIRST)[2]] == [FIRST]


def test_the_rank_and_the_cosine_are_those_of_chroma_and_the_text_alone(db: Path) -> None:
    passages = load_demo().passages
    index, question = DemoIndex(db, passages), "Quantos dias de férias tem o servidor?"
    encoder = shared_encoder()
    vectors = encoder.embed_documents([passage.full_text for passage in passages])
    cosines = vectors @ encoder.embed_query(question)
    try:
        found = index.search(question, 20, by_words=True)
    finally:
        index.close()
    best = sorted(range(len(passages)), key=lambda place: -cosines[place])[:20]
    assert [hit.passage.id for hit in found.nearest] == [passages[place].id for place in best]
    assert [hit.rank for hit in found.nearest] == list(range(1, 21))
    assert [hit.cosine for hit in found.nearest] == pytest.approx(list(cosines[best]), abs=1e-3)
    near = {hit.passage.id: hit for hit in found.nearest}
    assert len(found.candidates) == 20
    assert all(hit == near.get(hit.passage.id, hit) for hit in found.candidates)
    assert all(hit.passage.id in near or hit.rank is hit.cosine is None for hit in found.candidates)


def test_words_find_what_the_text_does_not(tmp_path: Path) -> None:
    index = DemoIndex(tmp_path, (FIRST, SECOND))
    try:
        index.fill(lambda *_: None)
        store = ExpansionStore(tmp_path / "keywords.sqlite")
        recipe = OfflineExpander(OfflineGenerator(), store).recipe
        store.edit(recipe, FIRST.full_text, Expansion((Keyword("hospedagem"),)))
        store.close()
        index.expand(lambda *_: None)
        found, plain = (index.search("hospedagem", 5, by_words=by_words).candidates for by_words in (True, False))
    finally:
        index.close()
    assert (found[0].passage, found[0].words) == (FIRST, "hospedagem")
    assert all(hit.words == "" for hit in plain)
    with HybridIndex.open(tmp_path, read_only=True) as reader:
        by_word = [reader.search("hospedagem", weights={"dense": 0}, index_on=view).hits for view in ("text", "both")]
    assert [[hit.document.id for hit in hits] for hits in by_word] == [[], ["p0"]]


def test_what_chroma_alone_finds_is_shown_although_it_is_no_candidate() -> None:
    near, far = Hit(FIRST, "", 1, 0.9), Hit(OTHER, "hospedagem", None, None)
    reranker = Reranker(FakeScorer(default=0.8))
    exchange = Exchange("hospedagem", (near,), (far,), reranker.rerank("hospedagem", [OTHER.full_text]))
    console = Console(file=StringIO(), width=100)
    show_exchange(console, exchange, reranker.policy, frozenset({"p2"}))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert re.search(r"#1 +0\.90 +Diárias +- +- no candidate", lines[3])
    assert re.search(r"- +- +p2 +relevant +█+░+ 0\.80 +\+ kept as \[1\]", lines[4])
