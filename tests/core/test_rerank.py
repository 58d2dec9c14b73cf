"""Scoring, the sigmoid, errors and async: everything around the selection."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limiar.concurrency import MAX_WORKERS, run_in_pool
from limiar.errors import (
    ConfigurationError,
    InputError,
    InputTypeError,
    LimiarError,
    ModelNotFoundError,
    NothingRelevantError,
    ScoringError,
)
from limiar.rerank import Reranker, RerankResult, ScoredDocument, sigmoid
from limiar.scoring.protocol import Scale, Scorer, Scores
from limiar.selection import SelectionPolicy
from limiar.testing import FakeScorer, KeywordScorer

SECRET = "the-secret-text"


class RawScorer:
    """Returns exactly what it is given, whatever that is."""

    model_id = "limiar/raw"

    def __init__(self, answer: Any, scale: Scale = "logit") -> None:
        self.answer = answer
        self.scale = scale

    def score(self, query: str, texts: Sequence[str]) -> Any:
        return self.answer


def rerank_raw(answer: Any, documents: list[str], scale: Scale = "logit", **options: Any) -> RerankResult:
    return Reranker(RawScorer(answer, scale), **options).rerank("query", documents)


# The sigmoid


@pytest.mark.parametrize(
    ("logit", "score"),
    [(0.0, 0.5), (2.0, 0.8807970779778823), (-2.0, 0.11920292202211755), (math.log(3), 0.75), (-math.log(3), 0.25)],
)
def test_the_sigmoid(logit: float, score: float) -> None:
    assert sigmoid(logit) == pytest.approx(score, rel=1e-15)


@pytest.mark.parametrize("logit", [1e308, 1e6, 745.2, 710.0, -710.0, -745.2, -1e6, -1e308])
def test_an_extreme_logit_does_not_overflow(logit: float) -> None:
    assert sigmoid(logit) == pytest.approx(1.0 if logit > 0 else 0.0, abs=1e-300)


def test_confident_logits_do_not_tie() -> None:
    """In float16 the sigmoid is 1.0 from 9 on, in bfloat16 from 6 on; in float64 from 37 on."""
    logits = [6.0, 9.0, 12.0, 17.0, 20.0, 30.0, 36.0]
    scores = [sigmoid(logit) for logit in logits]
    assert len(set(scores)) == len(scores)
    assert max(scores) < 1.0
    hopeless = [sigmoid(-logit) for logit in [*logits, 100.0, 500.0, 700.0]]
    assert len(set(hopeless)) == len(hopeless)
    assert min(hopeless) > 0.0


def test_confident_documents_are_ordered_by_their_logits() -> None:
    result = rerank_raw([12.0, 20.0, 17.0, 9.0], ["a", "b", "c", "d"], top_k=4)
    assert [document.index for document in result.kept] == [1, 2, 0, 3]


def test_half_precision_logits_reach_a_double_precision_sigmoid() -> None:
    result = rerank_raw(np.array([9.0, 12.0], dtype=np.float16), ["a", "b"])
    assert [document.index for document in result.kept] == [1, 0]
    assert result.kept[0].score == sigmoid(12.0)


@given(st.floats(-800.0, 800.0), st.floats(-800.0, 800.0))
def test_the_sigmoid_never_turns_an_order_around(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0.0 <= sigmoid(low) <= sigmoid(high) <= 1.0


@given(st.floats(-36.0, 36.0))
def test_the_sigmoid_is_symmetric(logit: float) -> None:
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1.0, abs=1e-15)


# What a result says


def test_a_result_in_full() -> None:
    scorer = FakeScorer({"one": -1.0, "two": 2.0, "three": 0.0}, scale="logit", model_id="limiar/hand-made")
    result = Reranker(scorer, threshold=0.45, top_k=1).rerank("query", ["one", "two", "three"])
    assert result == RerankResult(
        kept=(ScoredDocument(1, sigmoid(2.0), 2.0, original_rank=2, passed=True),),
        dropped=(
            ScoredDocument(2, 0.5, 0.0, original_rank=3, passed=True),
            ScoredDocument(0, sigmoid(-1.0), -1.0, original_rank=1, passed=False),
        ),
        model_id="limiar/hand-made",
        threshold=0.45,
        fell_back=False,
        error=None,
    )
    assert result.truncated == ()


def test_probabilities_stay_as_they_are_and_have_no_logit() -> None:
    result = rerank_raw([0.0, 1.0, 0.7], ["a", "b", "c"], "probability")
    assert [(document.score, document.logit) for document in result.kept] == [(1.0, None), (0.7, None)]


@pytest.mark.parametrize(
    "answer",
    [
        np.array([0.7, 0.2], dtype=np.float32),
        [np.float32(0.7), np.float64(0.2)],
        [1, 0],
        (0.7, 0.2),
    ],
)
@pytest.mark.parametrize("scale", ["logit", "probability"])
def test_scores_are_python_floats(answer: Any, scale: Scale) -> None:
    result = rerank_raw(answer, ["a", "b"], scale)
    for document in (*result.kept, *result.dropped):
        assert type(document.score) is float
        assert type(document.logit) is (float if scale == "logit" else type(None))


def test_dropped_is_best_first_and_complete() -> None:
    scorer = FakeScorer({"a": 0.1, "b": 0.9, "c": 0.3, "d": 0.8, "e": 0.3})
    result = Reranker(scorer, top_k=1).rerank("query", ["a", "b", "c", "d", "e"])
    assert [document.index for document in result.kept] == [1]
    assert [document.index for document in result.dropped] == [3, 2, 4, 0]
    assert [document.passed for document in result.dropped] == [True, False, False, False]


@pytest.mark.parametrize(("fallback", "kept", "dropped"), [("top1", [1], [2, 0]), ("empty", [], [1, 2, 0])])
def test_a_fallback_is_marked(fallback: Any, kept: list[int], dropped: list[int]) -> None:
    result = Reranker(FakeScorer({"b": 0.4, "c": 0.3}), fallback=fallback).rerank("query", ["a", "b", "c"])
    assert result.fell_back
    assert result.error is None
    assert [document.index for document in result.kept] == kept
    assert [document.index for document in result.dropped] == dropped
    assert not any(document.passed for document in (*result.kept, *result.dropped))


def test_the_original_fallback_keeps_the_incoming_order_with_scores() -> None:
    scorer = FakeScorer({"a": 0.1, "b": 0.4, "c": 0.3})
    result = Reranker(scorer, top_k=2, fallback="original").rerank("query", ["a", "b", "c"])
    assert [(document.index, document.score) for document in result.kept] == [(0, 0.1), (1, 0.4)]
    assert [document.index for document in result.dropped] == [2]


def test_the_fallback_raise_is_not_a_failure_of_the_scorer() -> None:
    reranker = Reranker(FakeScorer(), fallback="raise", on_error="original")
    with pytest.raises(NothingRelevantError):
        reranker.rerank("query", ["a", "b"])


def test_a_policy_for_one_call() -> None:
    reranker = Reranker(FakeScorer({"a": 0.9, "b": 0.5}))
    strict = reranker.rerank("query", ["a", "b"], policy=SelectionPolicy(threshold=0.8))
    assert [document.index for document in strict.kept] == [0]
    assert strict.threshold == 0.8
    assert len(reranker.rerank("query", ["a", "b"]).kept) == 2


def test_truncated_documents_are_reported_by_their_place_in_the_input() -> None:
    result = rerank_raw(Scores([3.0, -3.0, 2.0], truncated={1, 2}), ["a", " ", "b", "c"])
    assert result.truncated == (2, 3)
    assert {document.index: document.truncated for document in (*result.kept, *result.dropped)} == {
        0: False, 1: False, 2: True, 3: True,
    }  # fmt: skip


# Blank documents


@pytest.mark.parametrize("blank", ["", " ", "\n\t ", "\u00a0\u2003"])
def test_a_blank_document_scores_0_and_is_never_sent(blank: str) -> None:
    scorer = FakeScorer({"a": 1.0, "b": -2.0}, scale="logit")
    result = Reranker(scorer).rerank("query", [blank, "a", blank, "b"])
    assert scorer.calls == [("query", ["a", "b"])]
    assert [document.index for document in result.kept] == [1]
    blanks = [document for document in result.dropped if document.index in (0, 2)]
    assert [(document.score, document.logit, document.passed) for document in blanks] == [(0.0, None, False)] * 2


def test_only_blank_documents_never_wake_the_scorer() -> None:
    scorer = FakeScorer(error=RuntimeError("must not be called"))
    result = Reranker(scorer).rerank("query", ["", " "])
    assert scorer.calls == []
    assert [(document.index, document.score) for document in result.kept] == [(0, 0.0)]
    assert result.fell_back


def test_no_documents_is_an_empty_result() -> None:
    scorer = FakeScorer(error=RuntimeError("must not be called"))
    for fallback in ("top1", "empty", "original", "raise"):
        result = Reranker(scorer, fallback=fallback).rerank("query", [])
        assert (result.kept, result.dropped, result.fell_back) == ((), (), False)


# Scorers that misbehave


@pytest.mark.parametrize("answer", [[], [1.0], [1.0, 2.0, 3.0], np.array([1.0])])
def test_one_score_for_each_text_or_an_error(answer: Any) -> None:
    with pytest.raises(ScoringError, match=rf"scorer 'limiar/raw' returned {len(answer)} scores for 2 documents"):
        rerank_raw(answer, ["a", "b"])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float32("nan")])
@pytest.mark.parametrize("scale", ["logit", "probability"])
def test_a_score_that_is_not_a_number_names_scorer_and_document(bad: float, scale: Scale) -> None:
    with pytest.raises(ScoringError, match=r"scorer 'limiar/raw' returned (nan|-?inf) for document 2"):
        rerank_raw([0.5, bad], ["a", "", "b"], scale)


@pytest.mark.parametrize("bad", [1.0001, -0.0001, 7.0])
def test_a_probability_outside_0_to_1_is_an_error(bad: float) -> None:
    with pytest.raises(ScoringError, match=r"'limiar/raw' says it returns probabilities, but document 1 got"):
        rerank_raw([0.5, bad], ["a", "b"], "probability")


@pytest.mark.parametrize("answer", [None, 0.5, [None, 0.5], ["much", "little"], [[0.5], [0.2, 0.1]], [0.5, 1j]])
def test_an_answer_that_is_not_numbers_is_a_scoring_error(answer: Any) -> None:
    with pytest.raises(ScoringError, match="limiar/raw"):
        rerank_raw(answer, ["a", "b"])
    assert rerank_raw(answer, ["a", "b"], on_error="original").error


@pytest.mark.parametrize("foreign", [RuntimeError("out of memory"), ValueError("bad batch"), KeyError("token")])
def test_a_foreign_error_is_wrapped_with_its_cause(foreign: Exception) -> None:
    with pytest.raises(ScoringError, match=rf"scorer 'limiar/fake' failed: {type(foreign).__name__}") as caught:
        Reranker(FakeScorer(error=foreign)).rerank("query", ["a"])
    assert caught.value.__cause__ is foreign


def test_an_error_of_our_own_is_not_wrapped_again() -> None:
    error = ModelNotFoundError("no such model")
    with pytest.raises(ModelNotFoundError) as caught:
        Reranker(FakeScorer(error=error)).rerank("query", ["a"])
    assert caught.value is error


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_is_no_failure_of_the_scorer(interruption: type[BaseException]) -> None:
    class Interrupted(RawScorer):
        def score(self, query: str, texts: Sequence[str]) -> Any:
            raise interruption

    with pytest.raises(interruption):
        Reranker(Interrupted(None), on_error="original").rerank("query", ["a"])


@pytest.mark.parametrize(
    ("scorer", "name"),
    [
        (FakeScorer(error=RuntimeError("boom")), "ScoringError"),
        (FakeScorer(error=ModelNotFoundError("gone")), "ModelNotFoundError"),
        (RawScorer([math.nan] * 4), "ScoringError"),
        (RawScorer([1.0]), "ScoringError"),
    ],
)
def test_on_error_original_keeps_the_incoming_order_with_a_reason(
    scorer: Scorer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    reranker = Reranker(scorer, top_k=2, on_error="original")
    with caplog.at_level(logging.WARNING, "limiar"):
        result = reranker.rerank("query", ["a", "b", "c", "d"])
    assert [document.index for document in result.kept] == [0, 1]
    assert [document.index for document in result.dropped] == [2, 3]
    assert all(d.score is None and d.logit is None and not d.passed for d in (*result.kept, *result.dropped))
    assert result.error is not None
    assert name in result.error
    assert not result.fell_back
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert name in caplog.text


def test_on_error_original_does_not_hide_the_caller_s_own_mistakes() -> None:
    reranker = Reranker(KeywordScorer(), on_error="original")
    with pytest.raises(InputError):
        reranker.rerank(" ", ["a"])
    with pytest.raises(InputTypeError):
        reranker.rerank("query", ["a", None])  # type: ignore[list-item]


def test_errors_are_raised_unless_told_otherwise() -> None:
    assert Reranker(FakeScorer()).on_error == "raise"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error='ignore'; expected one of: raise, original"),
        ({"fallback": "none"}, "fallback='none'; expected one of"),
        ({"threshold": 2}, "threshold=2; expected a number from 0 to 1"),
        ({"top_k": 0}, "top_k=0; expected a whole number of at least 1"),
    ],
)
def test_bad_options_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Reranker(FakeScorer(), **options)


@pytest.mark.parametrize("scorer", [7, object(), len])
def test_what_is_no_scorer_is_refused_with_the_shape_expected(scorer: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"model_id, scale and score\(query, texts\)"):
        Reranker(scorer)


@pytest.mark.parametrize("scale", ["percent", None, 1])
def test_an_unknown_scale_is_refused(scale: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected one of: logit, probability"):
        Reranker(RawScorer([], scale))


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="score_threshold"):
        Reranker(FakeScorer(), score_threshold=0.5)  # type: ignore[call-arg]


# Nothing leaks, nothing is changed


@pytest.mark.parametrize(
    "error", [RuntimeError("boom"), ValueError(f"cannot tokenise {SECRET!r}"), ModelNotFoundError("gone")]
)
def test_a_failing_scorer_logs_no_text(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        Reranker(FakeScorer(error=error), on_error="original").rerank(f"query {SECRET}", [SECRET])
    assert caplog.records
    assert SECRET not in caplog.text


@pytest.mark.parametrize("fallback", ["top1", "empty", "original"])
def test_a_fallback_is_logged_without_text(fallback: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        Reranker(FakeScorer(), threshold=0.6, fallback=fallback).rerank(f"query {SECRET}", [SECRET, "b"])
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.name == "limiar"
    assert record.getMessage().startswith("no document of 2 reached threshold 0.6")
    assert repr(fallback) in record.getMessage()
    assert SECRET not in caplog.text


def test_a_success_logs_no_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        Reranker(KeywordScorer()).rerank(SECRET, [SECRET, f"{SECRET} again"])
    assert SECRET not in caplog.text


def test_the_input_is_not_changed() -> None:
    class Vandal(KeywordScorer):
        def score(self, query: str, texts: Sequence[str]) -> list[float]:
            scores = super().score(query, texts)
            if isinstance(texts, list):
                texts.reverse()
                texts.append("vandalised")
            return scores

    documents = ["quorum", "", "cake"]
    Reranker(Vandal()).rerank("quorum", documents)
    assert documents == ["quorum", "", "cake"]


def test_the_same_call_twice_gives_the_same_result() -> None:
    reranker = Reranker(KeywordScorer())
    documents = ["quorum lost", "cake", "quorum"]
    assert reranker.rerank("quorum lost", documents) == reranker.rerank("quorum lost", documents)


# Loading


def test_building_a_reranker_does_not_load_the_model_and_warm_up_does() -> None:
    class Loading(KeywordScorer):
        loaded = 0

        def warm_up(self) -> None:
            self.loaded += 1

    scorer = Loading()
    reranker = Reranker(scorer)
    assert scorer.loaded == 0
    reranker.warm_up()
    assert scorer.loaded == 1


def test_warm_up_of_a_scorer_without_one_is_nothing() -> None:
    Reranker(KeywordScorer()).warm_up()


# Async


async def test_async_equals_sync() -> None:
    reranker = Reranker(KeywordScorer(), top_k=2)
    documents = ["quorum lost", "", "cake", "the quorum"]
    assert await reranker.arerank("quorum lost", documents) == reranker.rerank("quorum lost", documents)
    policy = SelectionPolicy(threshold=0.9)
    assert (await reranker.arerank("quorum lost", documents, policy=policy)).threshold == 0.9


async def test_async_raises_what_sync_raises() -> None:
    with pytest.raises(InputError):
        await Reranker(KeywordScorer()).arerank("", ["a"])
    with pytest.raises(ScoringError):
        await Reranker(FakeScorer(error=RuntimeError("boom"))).arerank("query", ["a"])
    with pytest.raises(NothingRelevantError):
        await Reranker(FakeScorer(), fallback="raise").arerank("query", ["a"])


class GatedScorer(KeywordScorer):
    """Waits in `score` until the gate opens, and notes who waits there."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.full = threading.Event()
        self.lock = threading.Lock()
        self.inside = 0
        self.most_inside = 0
        self.threads: set[int] = set()

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        with self.lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            self.threads.add(threading.get_ident())
            if self.inside == MAX_WORKERS:
                self.full.set()
        assert self.gate.wait(60)
        with self.lock:
            self.inside -= 1
        return super().score(query, texts)


async def test_many_calls_share_a_bounded_pool_and_never_block_the_loop() -> None:
    scorer = GatedScorer()
    reranker = Reranker(scorer)
    calls = [asyncio.ensure_future(reranker.arerank("quorum", [f"quorum {n}"])) for n in range(10 * MAX_WORKERS)]
    try:
        # All workers wait inside the scorer, and the loop still runs: it is what gets us past this line.
        assert await asyncio.to_thread(scorer.full.wait, 60)
        assert not any(call.done() for call in calls)
    finally:
        scorer.gate.set()
    results = await asyncio.gather(*calls)
    assert all(result.kept[0].score == 1.0 for result in results)
    assert scorer.most_inside == MAX_WORKERS
    assert len(scorer.threads) <= MAX_WORKERS
    assert threading.get_ident() not in scorer.threads


async def test_context_variables_reach_the_pool() -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    request.set("42")
    assert await run_in_pool(request.get) == "42"


def test_the_pool_serves_one_event_loop_after_another() -> None:
    reranker = Reranker(KeywordScorer())
    for _ in range(3):
        assert asyncio.run(reranker.arerank("quorum", ["quorum"])).kept[0].score == 1.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_pool_survives_a_fork() -> None:
    """In a subprocess: forking a test run that has threads would be unsafe."""
    program = (
        "import asyncio, os\n"
        "from limiar.rerank import Reranker\n"
        "from limiar.testing import KeywordScorer\n"
        "call = lambda: asyncio.run(Reranker(KeywordScorer()).arerank('quorum', ['quorum'])).kept[0].score\n"
        "assert call() == 1.0\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if call() == 1.0 else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=120)


def test_every_error_of_the_rerank_is_a_limiar_error() -> None:
    for call in (
        lambda: Reranker(FakeScorer(error=OSError("disk"))).rerank("query", ["a"]),
        lambda: Reranker(FakeScorer()).rerank("", ["a"]),
        lambda: Reranker(FakeScorer()).rerank("query", "a"),
        lambda: Reranker(FakeScorer(), threshold=7),
    ):
        with pytest.raises(LimiarError):
            call()
