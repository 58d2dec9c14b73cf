"""`limiar search`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

pytest.importorskip("chromadb")
pytest.importorskip("tantivy")

from limiar import HybridIndex, IndexDocument

Run = Callable[..., CompletedProcess[str]]


def lines(done: CompletedProcess[str]) -> list[dict[str, object]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_table(limiar: Run, index: Path) -> None:
    done = limiar("search", "quórum do cluster", "-k", "1")
    assert done.returncode == 0
    heading, *rest = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    assert heading.split() == ["#", "fused", "bm25", "dense", "document"]
    assert rest[0].split()[:3] == ["1", "1.0000", "#1"]
    assert rest[0].endswith("quorum")
    assert rest[1:] == ["Cluster", "Sem quórum, o cluster recusa gravações."]


def test_json_lines(limiar: Run, index: Path) -> None:
    (first,) = lines(limiar("search", "quórum do cluster", "-k", "1", "--json"))
    arms = first.pop("arms")
    assert isinstance(arms, dict)
    assert {name: found["rank"] for name, found in arms.items()} == {"bm25": 1, "dense": 1}
    assert first == {
        "rank": 1,
        "id": "quorum",
        "fused_score": pytest.approx(1.0),
        "fields": {"title": "Cluster", "text": "Sem quórum, o cluster recusa gravações."},
        "metadata": {"year": 2023},
    }


@pytest.mark.parametrize("arms", ["bm25", "dense", "dense,bm25"])
def test_chosen_arms(limiar: Run, index: Path, arms: str) -> None:
    (first,) = lines(limiar("search", "quórum", "-k", "1", "--json", "--arms", arms))
    assert isinstance(first["arms"], dict)
    assert set(first["arms"]) == set(arms.split(","))
    heading = limiar("search", "quórum", "--arms", arms).stdout.splitlines()[0].split()
    assert heading == ["#", "fused", *sorted(arms.split(",")), "document"]


def test_a_filter(limiar: Run, index: Path) -> None:
    found = lines(limiar("search", "quórum do cluster", "--json", "--filter", '{"year": {"$lt": 2023}}'))
    assert {str(it["id"]) for it in found} == {"art75", "art28"}


def test_fusion(limiar: Run, index: Path) -> None:
    (first,) = lines(limiar("search", "quórum", "-k", "1", "--json", "--fusion", "relative"))
    assert first["fused_score"] == 1.0


def test_reranked(limiar: Run, index: Path) -> None:
    query = "Quem perde o quórum recusa gravações?"
    found = lines(limiar("search", query, "--json", "--rerank"))
    relevance = [it["relevance"] for it in found]
    assert relevance == sorted(relevance, reverse=True)
    assert [it["passed"] for it in found] == [value >= 0.45 for value in relevance]
    assert found[0]["id"] == "quorum"
    shown = limiar("search", query, "--rerank", "--threshold", "0", "-k", "1").stdout.split()
    assert shown[:4] == ["#", "relevance", "fused", "bm25"]
    assert "passes" in shown
    assert "fails" in limiar("search", query, "--rerank", "--threshold", "1").stdout


def test_an_arm_that_is_damaged_is_a_warning(limiar: Run, index: Path) -> None:
    shutil.rmtree(index / "bm25")
    done = limiar("search", "quórum", "-k", "1")
    assert done.returncode == 0
    assert done.stderr.startswith("limiar: warning: without bm25 (")
    assert done.stderr.count("\n") == 1
    assert done.stdout.split()[:4] == ["#", "fused", "dense", "document"]
    alone = limiar("search", "quórum", "--arms", "bm25")
    assert alone.returncode == 2
    assert alone.stdout == ""


def test_words_of_the_query_are_marked() -> None:
    from rich.text import Text

    from limiar import Analyzer
    from limiar.cli.search import _marked

    analyzer = Analyzer("pt")
    line = _marked(Text("As licitações (Lei nº 8.666/93), e o mais."), set(analyzer("licitação 8666")), analyzer)
    assert [line.plain[span.start : span.end] for span in line.spans] == ["licitações", "8.666/93"]


def test_texts_cannot_drive_the_terminal(limiar: Run) -> None:
    with HybridIndex.create("limiar-index") as index:
        index.add(
            [IndexDocument("a\x1b]0;b\n[red]", {"text": "quórum \x1b[2J [bold]x[/bold] \ud83d" + " longo" * 400})]
        )
    done = limiar("search", "quórum")
    assert "\x1b" not in done.stdout
    assert "[red]" in done.stdout
    assert "[bold]x[/bold]" in done.stdout
    assert len(done.stdout) < 2000
    (whole,) = lines(limiar("search", "quórum", "--json"))
    assert whole["id"] == "a\x1b]0;b\n[red]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([" "], "the query is ' '; expected text to look for"),
        (["q", "-k", "0"], "k=0; expected a whole number of at least 1"),
        (["q", "--filter", "{"], "--filter '{' is no JSON; expected an object such as"),
        (["q", "--filter", "[1]"], "--filter '[1]' is no JSON object"),
        (["q", "--filter", '{"year": {"$near": 1}}'], "unknown operator '$near'"),
        (["q", "--arms", "bm25,sparse"], "--arms 'bm25,sparse'; expected one or both of bm25, dense"),
        (["q", "--arms", ""], "--arms ''; expected"),
        (["q", "--rerank", "--threshold", "2"], "threshold=2.0; expected a number from 0 to 1"),
        (["q", "--rerank", "--candidates", "0"], "--candidates=0; expected a whole number of at least 1"),
        (["q", "--index", "nowhere"], "no limiar-hybrid index in nowhere"),
    ],
)
def test_a_bad_value_is_one_line_and_status_2(limiar: Run, index: Path, arguments: list[str], message: str) -> None:
    done = limiar("search", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("limiar: ")
    assert done.stderr.count("\n") == 1
