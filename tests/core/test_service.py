"""The process-wide service and the plain call, as the specification uses them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

import limiar.service
from limiar import get_relevant_docs, reranker_service
from limiar.errors import ConfigurationError, InputError, InputTypeError, ScoringError
from limiar.rerank import Reranker
from limiar.scoring.protocol import Scale, Scorer
from limiar.service import RankedText, RerankerService
from limiar.testing import FakeScorer, KeywordScorer

QUERY = "How does high availability work in Proxmox?"
QUORUM = "Proxmox HA needs a quorum of votes: a cluster of three nodes survives the loss of one."
FENCING = "A node that loses its quorum fences itself, and its guests start again on another node."
MANAGER = "The HA manager places a guest on the node with the highest priority of its group."
BACKUP = "Proxmox Backup Server stores guests in deduplicated chunks."
CAKE = "Carrot cake: three eggs, two carrots, one cup of oil."
PASSAGES = [CAKE, FENCING, QUORUM, BACKUP, MANAGER]
SCORES = {QUORUM: 0.92, FENCING: 0.55, MANAGER: 0.45, BACKUP: 0.31, CAKE: 0.02}


@pytest.fixture
def scorer() -> Iterator[FakeScorer]:
    """A fake in the process-wide service, which is as it was afterwards."""
    before = (reranker_service.model, reranker_service.threshold, reranker_service.log_scores)
    fake = FakeScorer(SCORES)
    reranker_service.model = fake
    yield fake
    reranker_service.model, reranker_service.threshold, reranker_service.log_scores = before


def test_relevant_docs_best_first(scorer: FakeScorer) -> None:
    assert get_relevant_docs(QUERY, PASSAGES) == [QUORUM, FENCING, MANAGER]
    assert get_relevant_docs(QUERY, PASSAGES, top_k=2) == [QUORUM, FENCING]
    assert scorer.calls == [(QUERY, PASSAGES)] * 2


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.3, [QUORUM, FENCING, MANAGER, BACKUP]),
        (0.4, [QUORUM, FENCING, MANAGER]),
        (0.45, [QUORUM, FENCING, MANAGER]),
        (0.5, [QUORUM, FENCING]),
        (0.6, [QUORUM]),
    ],
)
def test_the_threshold_is_set_by_assignment(scorer: FakeScorer, threshold: float, expected: list[str]) -> None:
    reranker_service.threshold = threshold
    assert reranker_service.threshold == threshold
    assert get_relevant_docs(QUERY, PASSAGES, top_k=5) == expected


def test_a_sweep_prints_scores_and_the_start_of_each_text(
    scorer: FakeScorer, capsys: pytest.CaptureFixture[str]
) -> None:
    for threshold in (0.3, 0.4, 0.45, 0.5, 0.6):
        reranker_service.threshold = threshold
        print(f"threshold {threshold}")
        for text, score in reranker_service.rerank(QUERY, PASSAGES):
            print(f"{score:.4f}  {text[:50]}")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "threshold 0.3",
        f"0.9200  {QUORUM[:50]}",
        f"0.5500  {FENCING[:50]}",
        f"0.4500  {MANAGER[:50]}",
    ]
    assert lines[-2:] == ["threshold 0.6", f"0.9200  {QUORUM[:50]}"]
    assert len(lines) == 5 + 3 + 3 + 3 + 2 + 1


def test_with_and_without_reranking(scorer: FakeScorer) -> None:
    """The comparison of the specification: the first three that retrieval found, and the three that are relevant."""
    without = PASSAGES[:3]
    with_reranking = get_relevant_docs(QUERY, PASSAGES)
    assert CAKE in without
    assert CAKE not in with_reranking
    assert set(with_reranking) <= set(PASSAGES)


def test_ranked_texts_have_names_too(scorer: FakeScorer) -> None:
    best = reranker_service.rerank(QUERY, PASSAGES)[0]
    assert best == RankedText(text=QUORUM, score=0.92)
    assert (best.text, best.score) == (QUORUM, 0.92)


def test_if_nothing_passes_the_single_best_comes_back_and_explain_says_so(scorer: FakeScorer) -> None:
    reranker_service.threshold = 0.95
    assert get_relevant_docs(QUERY, PASSAGES) == [QUORUM]
    result = reranker_service.explain(QUERY, PASSAGES)
    assert result.fell_back
    assert [(document.index, document.passed) for document in result.kept] == [(2, False)]


def test_explain_gives_every_document(scorer: FakeScorer) -> None:
    result = reranker_service.explain(QUERY, PASSAGES, top_k=1)
    assert [document.index for document in result.kept] == [2]
    assert [document.index for document in result.dropped] == [1, 4, 3, 0]
    assert result.model_id == "limiar/fake"


def test_no_documents_give_an_empty_list(scorer: FakeScorer) -> None:
    assert get_relevant_docs(QUERY, []) == []
    assert scorer.calls == []


@pytest.mark.parametrize("threshold", [-0.01, 1.01, float("nan"), "0.45", None, True])
def test_a_bad_threshold_is_refused_and_the_old_one_stays(scorer: FakeScorer, threshold: float) -> None:
    with pytest.raises(ConfigurationError, match="threshold="):
        reranker_service.threshold = threshold
    assert reranker_service.threshold == 0.45


def test_bad_input_is_refused(scorer: FakeScorer) -> None:
    with pytest.raises(InputError):
        get_relevant_docs("  ", PASSAGES)
    with pytest.raises(InputTypeError):
        get_relevant_docs(QUERY, QUORUM)
    with pytest.raises(ConfigurationError):
        get_relevant_docs(QUERY, PASSAGES, top_k=0)


def test_a_failing_model_raises_and_the_next_one_works(scorer: FakeScorer) -> None:
    reranker_service.model = FakeScorer(error=RuntimeError("boom"))
    with pytest.raises(ScoringError):
        get_relevant_docs(QUERY, PASSAGES)
    reranker_service.model = scorer
    assert get_relevant_docs(QUERY, PASSAGES) == [QUORUM, FENCING, MANAGER]


def test_the_model_is_changed_by_assignment(scorer: FakeScorer) -> None:
    other = FakeScorer({CAKE: 0.9}, default=0.1)
    reranker_service.model = other
    assert reranker_service.model is other
    assert get_relevant_docs(QUERY, PASSAGES) == [CAKE]
    assert scorer.calls == []


def test_a_model_that_is_none_is_refused_by_the_first_call() -> None:
    service = RerankerService(object())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="scorer is object"):
        service.get_relevant_docs(QUERY, PASSAGES)


def test_warm_up_loads_the_model_of_the_calls_to_come() -> None:
    class Loading(KeywordScorer):
        loaded = 0

        def warm_up(self) -> None:
            self.loaded += 1

    model = Loading()
    service = RerankerService(model)
    assert model.loaded == 0
    service.warm_up()
    assert model.loaded == 1


# Logging


def test_scores_are_logged_on_demand_and_texts_never(scorer: FakeScorer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        get_relevant_docs(QUERY, PASSAGES)
        assert caplog.messages == []
        reranker_service.log_scores = True
        get_relevant_docs(QUERY, PASSAGES)
    assert caplog.messages == [
        "document 0: score 0.0200, passed False",
        "document 1: score 0.5500, passed True",
        "document 2: score 0.9200, passed True",
        "document 3: score 0.3100, passed False",
        "document 4: score 0.4500, passed True",
    ]
    assert {record.name for record in caplog.records} == {"limiar.service"}
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    assert not any(text[:20] in caplog.text for text in (QUERY, *PASSAGES))


# Threads


def run_together(*calls: Callable[[], None]) -> None:
    """All calls at once, each in its own thread; the first error is raised."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], None]) -> None:
        start.wait(60)
        call()

    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(run, call) for call in calls]:
            done.result(120)


def test_the_reranker_is_made_once_however_many_threads_ask_first(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def make(model: Scorer | str | None) -> Reranker:
        made.append(model)
        return Reranker(model)

    monkeypatch.setattr(limiar.service, "Reranker", make)
    model = KeywordScorer()
    service = RerankerService(model)
    assert made == [], "made at the first call, not before"
    run_together(*[service.warm_up] * 16)
    assert made == [model]


def test_threads_may_call_while_another_changes_threshold_and_model() -> None:
    """Each call sees one threshold and one model from its start to its end."""

    class Constant:
        scale: Scale = "probability"

        def __init__(self, value: float) -> None:
            self.value = value
            self.model_id = f"constant/{value}"

        def score(self, query: str, texts: Sequence[str]) -> list[float]:
            return [self.value] * len(texts)

    models = [Constant(0.2), Constant(0.6), Constant(0.9)]
    thresholds = (0.1, 0.5, 0.8)
    service = RerankerService(models[0], threshold=thresholds[0])
    stop = threading.Event()

    def change() -> None:
        for turn in range(600):
            service.model = models[turn % 3]
            service.threshold = thresholds[turn // 3 % 3]
        stop.set()

    def call() -> None:
        for _ in range(200):
            result = service.explain("query", ["a", "b"])
            (value,) = {document.score for document in (*result.kept, *result.dropped)}
            assert value is not None
            assert result.model_id == f"constant/{value}"
            assert result.threshold in thresholds
            assert result.fell_back == (value < result.threshold)
            assert len(result.kept) == (1 if result.fell_back else 2)

    run_together(change, *[call] * 6)
    assert stop.is_set()
    assert service.threshold == thresholds[599 // 3 % 3]
    assert service.model is models[599 % 3]
