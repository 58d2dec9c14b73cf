"""Searches by a query and its other wordings, over a real index."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from limiar import FunctionChat, HybridIndex, IndexDocument, QueryExpander
from limiar.errors import ArmError, ConfigurationError, InputError, StoreError
from limiar.keywords.expanded_search import EXPANSION, ExpandedSearch
from limiar.retrieval import arms
from limiar.retrieval.arm_threads import ArmThreads
from limiar.testing import WordsEncoder

QUERY = "dispensa"
TEXTS = {
    "dispensa": "A dispensa de licitação por valor.",
    "direta": "A contratação direta sem certame.",
    "compra": "A compra sem certame exige justificativa.",
    "pregao": "O pregão eletrônico para bens comuns.",
    "quorum": "Sem quórum o cluster fica somente leitura.",
}
YEARS = {"dispensa": 2021, "direta": 2021, "compra": 2020, "pregao": 2019, "quorum": 2024}
SPARSE = {"weights": {"dense": 0.0}}
"""BM25 only: it finds no document without a word of the query, while the dense arm finds every one."""


class Encoder(WordsEncoder):
    """Fails or waits for the queries that hold a word of `failing` or `waiting`."""

    failing: str | None = None
    waiting: str | None = None
    seen: threading.Event | None = None

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def embed_query(self, text: str) -> Any:
        if self.seen is not None:
            self.seen.set()
        if self.failing and self.failing in text:
            raise OSError(text)
        if self.waiting and self.waiting in text:
            self.gate.wait(60)
        return super().embed_query(text)


class Model:
    """Says for each query what `answers` has: (synonyms, rephrasings)."""

    def __init__(self, *synonyms: str, questions: Sequence[str] = ()) -> None:
        self.answer = json.dumps({"keywords": [{"term": QUERY, "synonyms": synonyms}], "questions": list(questions)})
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, _: object) -> str:
        self.calls += 1
        self.gate.wait(60)
        return self.answer


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HybridIndex]:
    with HybridIndex.create(tmp_path_factory.mktemp("index") / "i", encoder=Encoder()) as made:
        made.add([IndexDocument(name, {"text": text}, {"year": YEARS[name]}) for name, text in TEXTS.items()])
        yield made


@pytest.fixture
def encoder(index: HybridIndex) -> Iterator[Encoder]:
    encoder: Encoder = index._encoder  # type: ignore[assignment]
    yield encoder
    encoder.failing = encoder.waiting = encoder.seen = None
    encoder.gate.set()
    encoder.gate = threading.Event()


def expander_of(model: Model | Any, **options: Any) -> QueryExpander:
    options = {"timeout": 60.0, "max_retries": 0, "synonyms": 5, **options}
    return QueryExpander(FunctionChat(model, "example"), **options)


def search_of(index: HybridIndex, model: Model | Any, **options: Any) -> ExpandedSearch:
    own = {name: options.pop(name) for name in ("rephrasings",) if name in options}
    return ExpandedSearch(index, expander=expander_of(model, **own), **options)


def ids(result: Any) -> list[str]:
    return [hit.document.id for hit in result.hits]


REWORDED = ("contratação direta", "sem certame")
QUESTIONS = ("A compra sem licitação é legal?",)


def test_variants_find_what_the_query_does_not(index: HybridIndex) -> None:
    assert ids(index.search(QUERY, weights={"dense": 0.0})) == ["dispensa"]
    result = search_of(index, Model(*REWORDED, questions=QUESTIONS), **SPARSE).run(QUERY, 10)
    assert ids(result)[0] == "dispensa"
    assert set(ids(result)) == {"dispensa", "direta", "compra"}
    assert result.skipped == {}
    for hit in result.hits:
        assert hit.document.text == TEXTS[hit.document.id]
        assert hit.fused.id == hit.document.id


def test_marks_are_those_of_the_query_itself_and_of_each_variant(index: HybridIndex) -> None:
    plain = {hit.document.id: hit.fused for hit in index.search(QUERY, 100).hits}
    result = search_of(index, Model(*REWORDED, questions=QUESTIONS)).run(QUERY, 10)
    for hit in result.hits:
        own = {name: place for name, place in hit.fused.arms.items() if not name.startswith("variant")}
        assert own == plain[hit.document.id].arms
    first = result.hits[0].fused.arms
    assert list(first) == ["bm25", "dense", "variant 1", "variant 2"]
    assert first["bm25"].rank == first["dense"].rank == 1
    variant = index.search(f"{QUERY} contratação direta sem certame", 100)
    ranks = {hit.document.id: rank for rank, hit in enumerate(variant.hits, 1)}
    assert {hit.document.id: hit.fused.arms["variant 1"].rank for hit in result.hits} == ranks
    only_variants = search_of(index, Model(*REWORDED, questions=QUESTIONS), **SPARSE).run(QUERY, 10).hits[-1].fused
    assert set(only_variants.arms) <= {"variant 1", "variant 2"}


def test_no_expander_no_difference(index: HybridIndex) -> None:
    assert ExpandedSearch(index).run(QUERY, 3) == index.search(QUERY, 3)


# Weights


@pytest.mark.parametrize("fusion", ["relative", "rrf"])
@pytest.mark.parametrize("weight", [0.01, 0.3, 0.33])
def test_what_the_query_ranks_first_stays_before_what_only_variants_found(
    index: HybridIndex, fusion: Any, weight: float
) -> None:
    """Three variants that all put another document first do not reach the query's own best."""
    model = Model("pregão eletrônico", questions=["Como é o pregão eletrônico?", "O pregão eletrônico compra o quê?"])
    search = search_of(index, model, fusion=fusion, variant_weight=weight, **SPARSE)
    result = search.run(QUERY, 10)
    assert ids(result)[0] == "dispensa"
    (other,) = [hit for hit in result.hits if hit.document.id == "pregao"]
    assert set(other.fused.arms) == {"variant 1", "variant 2", "variant 3"}
    assert other.fused.arms["variant 2"].rank == other.fused.arms["variant 3"].rank == 1
    assert result.hits[0].fused.score > other.fused.score


def test_variants_that_weigh_more_together_may_win(index: HybridIndex) -> None:
    model = Model("pregão eletrônico", questions=["Como é o pregão eletrônico?", "O pregão eletrônico compra o quê?"])
    result = search_of(index, model, variant_weight=0.9, **SPARSE).run(QUERY, 10)
    assert ids(result)[0] == "pregao"


def test_weights_in_the_score(index: HybridIndex) -> None:
    """By hand: the query finds one document, worth 1; the only variant finds two, worth 1 and 0; weights 1 and 0.5."""
    model = Model(questions=["certame exige justificativa?"])
    result = search_of(index, model, variant_weight=0.5, rephrasings=1, **SPARSE).run(QUERY, 10)
    scores = {hit.document.id: hit.fused.score for hit in result.hits}
    assert scores == pytest.approx({"dispensa": 1 / 1.5, "compra": 0.5 / 1.5, "direta": 0.0})


@pytest.mark.parametrize("weight", [0, 1, 0.0, 1.0, -0.1, 2, True, float("nan"), float("inf"), "0.3", None])
def test_unfit_weights(index: HybridIndex, weight: object) -> None:
    with pytest.raises(ConfigurationError, match="variant_weight="):
        ExpandedSearch(index, variant_weight=weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("expander", [print, "gpt-4o-mini", FunctionChat(print, "m")])
def test_what_is_no_query_expander(index: HybridIndex, expander: object) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a limiar\.QueryExpander or None"):
        ExpandedSearch(index, expander=expander)  # type: ignore[arg-type]


# Late and failing models


def test_a_late_model(index: HybridIndex) -> None:
    model = Model(*REWORDED, questions=QUESTIONS)
    model.gate.clear()
    expander = expander_of(model, timeout=0.05)
    search = ExpandedSearch(index, expander=expander, weights={"dense": 0.0})
    late = search.run(QUERY, 10)
    assert late.hits == index.search(QUERY, 10, weights={"dense": 0.0}).hits
    assert late.skipped == {EXPANSION: "no answer within 0.05 s"}
    under_way = expander.begin(QUERY)
    model.gate.set()
    under_way.result(60)
    assert set(ids(search.run(QUERY, 10))) == {"dispensa", "direta", "compra"}
    assert model.calls == 1


def test_the_query_is_searched_while_the_model_thinks(index: HybridIndex, encoder: Encoder) -> None:
    """The model answers only once the query itself has reached the encoder."""
    model = Model(*REWORDED)
    model.gate = encoder.seen = threading.Event()
    assert search_of(index, model).run(QUERY, 10).skipped == {}


def test_a_failing_model(index: HybridIndex) -> None:
    def fail(_: object) -> str:
        message = "secret"
        raise OSError(message)

    result = search_of(index, fail).run(QUERY, 2)
    assert result.hits == index.search(QUERY, 2).hits
    assert result.skipped == {EXPANSION: "no answer of example: OSError"}


def test_junk(index: HybridIndex) -> None:
    result = search_of(index, lambda _: "Desculpe, não posso ajudar.").run(QUERY, 2)
    assert result.hits == index.search(QUERY, 2).hits
    assert result.skipped[EXPANSION].startswith("refusal: ")


async def test_the_same_off_the_event_loop(index: HybridIndex) -> None:
    search = search_of(index, Model(*REWORDED, questions=QUESTIONS), **SPARSE)
    assert await search.arun(QUERY, 10, {"year": 2021}) == search.run(QUERY, 10, {"year": 2021})


def test_a_late_answer_after_the_loop_is_closed(index: HybridIndex, caplog: pytest.LogCaptureFixture) -> None:
    model = Model(*REWORDED, questions=QUESTIONS)
    model.gate.clear()
    expander = expander_of(model, timeout=0.05)
    search = ExpandedSearch(index, expander=expander)
    assert asyncio.run(search.arun(QUERY, 10)).skipped == {EXPANSION: "no answer within 0.05 s"}
    under_way = expander.begin(QUERY)
    model.gate.set()
    assert under_way.result(60).texts
    assert asyncio.run(search.arun(QUERY, 10)).skipped == {}
    assert not [record for record in caplog.records if record.name != "limiar"]


async def test_a_search_never_takes_the_threads_of_its_arms(
    index: HybridIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_one = ArmThreads(1)
    monkeypatch.setattr(arms, "arm_threads", lambda: only_one)
    search = search_of(index, Model(*REWORDED, questions=QUESTIONS), timeout=10.0)
    assert search.run(QUERY, 3).skipped == {}
    assert (await search.arun(QUERY, 3)).skipped == {}


async def test_far_more_searches_at_once_than_threads(index: HybridIndex) -> None:
    """While all of them wait for the model, and then for their variants, no arm lacks a thread."""
    model = Model(*REWORDED, questions=[*QUESTIONS, "É legal a dispensa?"])
    model.gate.clear()
    search = search_of(index, model, timeout=30.0)
    running = [asyncio.ensure_future(search.arun(f"{QUERY} {number % 40}", 3)) for number in range(120)]
    await asyncio.sleep(0.2)
    model.gate.set()
    assert all(len(result.hits) == 3 and not result.skipped for result in await asyncio.gather(*running))
    assert model.calls == 40


# k, filters and views


def test_k_and_filters_hold_for_variants_too(index: HybridIndex) -> None:
    search = search_of(index, Model(*REWORDED, questions=QUESTIONS), filter={"year": {"$lte": 2021}}, candidates=1)
    whole = ids(search.run(QUERY, 10))
    assert set(whole) == {"dispensa", "direta", "compra", "pregao"}
    assert len(ids(search.run(QUERY, 2))) == 2
    assert ids(search.run(QUERY, 1)) == ["dispensa"]
    assert set(ids(search.run(QUERY, 10, {"year": 2020}))) == {"compra"}
    assert set(ids(search.run(QUERY, 10, {}))) == set(TEXTS)
    assert ids(search.run(QUERY, 10, {"year": 1900})) == []


@pytest.mark.parametrize("k", [0, -1, True, 2.0, "3", None])
@pytest.mark.parametrize("failing", [False, True])
def test_unfit_k(index: HybridIndex, k: object, failing: bool) -> None:
    model = Model(*REWORDED)
    model.answer = "" if failing else model.answer
    with pytest.raises(ConfigurationError, match="k="):
        search_of(index, model).run(QUERY, k)  # type: ignore[arg-type]
    assert model.calls == 0


@pytest.mark.parametrize("query", ["", "  ", None, 7])
def test_unusable_queries_ask_nobody(index: HybridIndex, query: object) -> None:
    model = Model(*REWORDED)
    with pytest.raises(InputError):
        search_of(index, model).run(query, 3)  # type: ignore[arg-type]
    assert model.calls == 0


def test_unfit_filters_ask_nobody(index: HybridIndex) -> None:
    model = Model(*REWORDED)
    with pytest.raises(InputError):
        search_of(index, model).run(QUERY, 3, {"year": {"$almost": 2020}})
    assert model.calls == 0


def test_lone_surrogates(index: HybridIndex) -> None:
    result = search_of(index, Model("anún\ud83dcio", *REWORDED), **SPARSE).run(f"\ud800 {QUERY}", 10)
    assert "direta" in ids(result)


def test_each_arm_has_its_view(tmp_path: Path) -> None:
    views = {"bm25": ("text", "keywords", "both"), "dense": ("text", "both")}
    with HybridIndex.create(tmp_path / "i", views=views, encoder=WordsEncoder()) as index:
        index.add([IndexDocument(name, {"text": text}) for name, text in TEXTS.items()])
        index.set_generated({"quorum": {"keywords": "dispensa"}})
        model = Model("contratação direta")

        def bm25_found(index_on: Any) -> set[str]:
            result = search_of(index, model, index_on=index_on).run(QUERY, 10)
            return {hit.document.id for hit in result.hits if "bm25" in hit.fused.arms}

        assert bm25_found({"bm25": "text", "dense": "both"}) == {"dispensa"}
        assert bm25_found({"bm25": "keywords", "dense": "text"}) == {"quorum"}
        assert bm25_found("both") == bm25_found(None) == {"dispensa", "quorum"}
        with pytest.raises(ConfigurationError, match="the dense arm of this index has text, both"):
            search_of(index, model, index_on="keywords")


# Arms of the index that fail or are late


def test_an_arm_that_fails_for_a_variant_only(index: HybridIndex, encoder: Encoder) -> None:
    encoder.failing = "certame"
    model = Model("contratação direta", questions=["A compra sem certame?", "É contratação direta?"])
    with pytest.raises(ArmError, match="arm 'variant 2' failed"):
        search_of(index, model).run(QUERY, 10)
    result = search_of(index, model, on_error="skip").run(QUERY, 10)
    assert result.skipped.keys() == {"variant 2 dense"}
    assert "compra" in ids(result)


def test_an_arm_that_fails_for_all(index: HybridIndex, encoder: Encoder) -> None:
    encoder.failing = QUERY
    result = search_of(index, Model("contratação direta"), on_error="skip").run(QUERY, 10)
    assert result.skipped.keys() == {"dense", "variant 1 dense"}
    assert set(ids(result)) == {"dispensa", "direta"}
    with pytest.raises(ArmError, match="arm 'dense' failed"):
        search_of(index, Model("contratação direta")).run(QUERY, 10)


def test_when_no_variant_can_be_searched_the_query_answers(index: HybridIndex, encoder: Encoder) -> None:
    encoder.failing = "direta"
    dense_only = {"weights": {"bm25": 0.0}}
    result = search_of(index, Model("contratação direta"), on_error="skip", **dense_only).run(QUERY, 2)
    assert result.hits == index.search(QUERY, 2, **dense_only).hits
    assert result.skipped.keys() == {EXPANSION}
    assert "every arm failed" in result.skipped[EXPANSION]
    with pytest.raises(ArmError, match="arm 'variant 1' failed"):
        search_of(index, Model("contratação direta"), **dense_only).run(QUERY, 2)


def test_a_late_arm_of_a_variant_costs_that_arm_only(index: HybridIndex, encoder: Encoder) -> None:
    encoder.waiting = "direta"
    model = Model("contratação direta")
    result = search_of(index, model, timeout=0.5, on_error="skip").run(QUERY, 10)
    assert result.skipped == {"variant 1 dense": "TimeoutError: no answer within 0.5 s"}
    assert {hit.document.id for hit in result.hits if "variant 1" in hit.fused.arms} == {"dispensa", "direta"}
    with pytest.raises(ArmError, match="arm 'dense' is late"):
        search_of(index, model, timeout=0.5).run(QUERY, 10)


def test_a_closed_index(tmp_path: Path) -> None:
    with HybridIndex.create(tmp_path / "i", encoder=WordsEncoder()) as index:
        search = search_of(index, Model(*REWORDED))
    with pytest.raises(StoreError, match="is closed"):
        search.run(QUERY, 3)
