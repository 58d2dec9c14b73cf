"""Fusion on lists whose answers can be checked by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limiar.errors import ConfigurationError, InputError
from limiar.retrieval.fusion import FUSION_METHODS, Arm, ArmHit, fuse

BM25 = Arm("bm25", [("a", 9.0), ("b", 6.0), ("c", 3.0)], drop_zero=True)
DENSE = Arm("dense", [("c", 0.9), ("a", 0.8), ("d", 0.4)])


def scores(fused):
    return {hit.id: hit.score for hit in fused}


def test_reciprocal_rank() -> None:
    fused = fuse([BM25, DENSE])
    assert [hit.id for hit in fused] == ["a", "c", "b", "d"]
    assert scores(fused) == pytest.approx({"a": 1 / 61 + 1 / 62, "c": 1 / 63 + 1 / 61, "b": 1 / 62, "d": 1 / 63})


def test_reciprocal_rank_with_weights_and_k() -> None:
    fused = fuse([BM25, DENSE], weights={"dense": 3.0}, rrf_k=1)
    assert scores(fused) == pytest.approx({"a": 1 / 2 + 3 / 3, "c": 1 / 4 + 3 / 2, "b": 1 / 3, "d": 3 / 4})
    assert [hit.id for hit in fused] == ["c", "a", "d", "b"]


def test_relative_score() -> None:
    fused = fuse([BM25, DENSE], method="relative", weights={"bm25": 1.0, "dense": 3.0})
    expected = {"a": (1 + 3 * 0.8) / 4, "b": 0.5 / 4, "c": 3 / 4, "d": 0.0}
    assert scores(fused) == pytest.approx(expected)


def test_distribution() -> None:
    fused = fuse([Arm("x", [("a", 3.0), ("b", 2.0), ("c", 1.0)])], method="distribution")
    six_deviations = 6 * math.sqrt(2 / 3)
    assert scores(fused) == pytest.approx({"a": 0.5 + 1 / six_deviations, "b": 0.5, "c": 0.5 - 1 / six_deviations})


@pytest.mark.parametrize(("method", "worth"), [("relative", 1.0), ("distribution", 0.5)])
def test_hits_that_score_the_same(method, worth) -> None:
    assert scores(fuse([Arm("x", [("a", 7.0), ("b", 7.0)])], method=method)) == {"a": worth, "b": worth}


def test_provenance() -> None:
    hit = fuse([BM25, DENSE])[1]
    assert hit.id == "c"
    assert hit.arms == {"bm25": ArmHit(3, 3.0), "dense": ArmHit(1, 0.9)}
    assert type(hit.score) is float


@pytest.mark.parametrize("method", FUSION_METHODS)
def test_an_id_counts_once_in_an_arm_at_its_best_rank(method) -> None:
    twice = Arm("x", [("a", 3.0), ("b", 2.0), ("a", 1.0), ("c", 1.0)])
    once = Arm("x", [("a", 3.0), ("b", 2.0), ("c", 1.0)])
    assert fuse([twice], method=method) == fuse([once], method=method)


@pytest.mark.parametrize("method", FUSION_METHODS)
def test_zero_and_negative_hits_of_a_lexical_arm_never_count(method) -> None:
    with_junk = Arm("bm25", [("a", 2.0), ("z", 0.0), ("b", 1.0), ("y", -1.0)], drop_zero=True)
    without = Arm("bm25", [("a", 2.0), ("b", 1.0)])
    assert fuse([with_junk, DENSE], method=method) == fuse([without, DENSE], method=method)
    assert fuse([Arm("bm25", [("z", 0.0)], drop_zero=True)], method=method) == []


def test_zero_and_negative_hits_of_a_dense_arm_count() -> None:
    assert [hit.id for hit in fuse([Arm("dense", [("a", 0.1), ("b", 0.0), ("c", -0.2)])])] == ["a", "b", "c"]


def test_an_arm_without_scores_takes_part_by_rank() -> None:
    fused = fuse([Arm("graph", [("a", None), ("b", None)], drop_zero=True), DENSE])
    assert fused[0].id == "a"
    assert fused[0].arms["graph"] == ArmHit(1, None)


@pytest.mark.parametrize("method", ["relative", "distribution"])
def test_an_arm_without_scores_is_named_where_scores_are_needed(method) -> None:
    with pytest.raises(InputError, match=f"arm 'graph' has hits without a score; method='{method}' needs scores"):
        fuse([DENSE, Arm("graph", [("a", 1.0), ("b", None)])], method=method)


@pytest.mark.parametrize("method", FUSION_METHODS)
def test_a_zero_weight_arm_adds_nothing_and_returns_nothing_alone(method) -> None:
    fused = fuse([BM25, DENSE], method=method, weights={"bm25": 0})
    assert scores(fused) == scores(fuse([DENSE], method=method))
    assert fused[1].arms["bm25"].rank == 1


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"bm25": -1.0}, "the weight of arm 'bm25' is -1.0; expected a finite number of at least 0"),
        ({"bm25": math.nan}, "is nan"),
        ({"bm25": math.inf}, "is inf"),
        ({"bm25": True}, "is True"),
        ({"bm25": "1"}, "is '1'"),
        ({"bm25": 0, "dense": 0.0}, "every arm weight is 0"),
        ({"lexical": 1.0}, "unknown arm in the weights: lexical; the arms are: bm25, dense"),
        ([1.0, 2.0], "the arm weights are list"),
    ],
)
def test_weights_are_checked(weights, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        fuse([BM25, DENSE], weights=weights)


@pytest.mark.parametrize("options", [{"method": "simple"}, {"rrf_k": 0}, {"rrf_k": 1.5}, {"limit": 0}])
def test_parameters_are_checked(options) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        fuse([BM25], **options)


def test_two_arms_of_one_name() -> None:
    with pytest.raises(ConfigurationError, match="two arms have one name: bm25, bm25"):
        fuse([BM25, BM25])


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_not_finite(score) -> None:
    with pytest.raises(InputError, match="arm 'x' gives a document the score"):
        fuse([Arm("x", [("a", score)])])


def test_ties_go_to_the_best_rank_then_to_the_first_arm() -> None:
    fused = fuse([Arm("x", [("a", None), ("b", None)]), Arm("y", [("c", None), ("d", None)])])
    assert [hit.id for hit in fused] == ["a", "c", "b", "d"]


def test_limit_and_nothing() -> None:
    assert [hit.id for hit in fuse([BM25, DENSE], limit=2)] == ["a", "c"]
    assert fuse([]) == []
    assert fuse([Arm("x", [])], method="distribution") == []


HITS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(-1e6, 1e6)), max_size=12)


@given(st.lists(HITS, max_size=4), st.sampled_from(FUSION_METHODS))
def test_every_document_comes_once_and_sorted(lists, method) -> None:
    arms = [Arm(str(number), hits) for number, hits in enumerate(lists)]
    fused = fuse(arms, method=method)
    assert sorted(hit.id for hit in fused) == sorted({document for hits in lists for document, _ in hits})
    assert [hit.score for hit in fused] == sorted((hit.score for hit in fused), reverse=True)
    assert fused == fuse(arms, method=method)
