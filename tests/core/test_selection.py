"""Selection is arithmetic on scores: examples to check by hand, then what must hold for any scores."""

from __future__ import annotations

import math
import random as random_module
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limiar.errors import ConfigurationError, NothingRelevantError, ScoringError
from limiar.selection import DEFAULT_THRESHOLD, DEFAULT_TOP_K, FALLBACK_POLICIES, Selection, SelectionPolicy, select

scores_lists = st.lists(st.floats(0.0, 1.0), max_size=30)
# Few distinct values: ties are common.
tied_lists = st.lists(st.sampled_from([0.0, 0.2, 0.45, 0.5, 1.0]), max_size=30)
thresholds = st.floats(0.0, 1.0)
top_ks = st.integers(1, 40)
quiet_fallbacks = st.sampled_from(["top1", "empty", "original"])


def test_the_defaults_are_the_specification_s() -> None:
    assert (DEFAULT_THRESHOLD, DEFAULT_TOP_K) == (0.45, 3)
    assert SelectionPolicy() == SelectionPolicy(threshold=0.45, top_k=3, fallback="top1")


def test_best_first_and_the_weak_are_dropped() -> None:
    selection = select([0.2, 0.9, 0.5, 0.44], SelectionPolicy())
    assert selection == Selection(kept=(1, 2), order=(1, 2, 3, 0), fell_back=False)


def test_the_threshold_is_inclusive() -> None:
    assert select([0.45], SelectionPolicy(threshold=0.45, fallback="empty")).kept == (0,)
    just_below = math.nextafter(0.45, 0.0)
    assert select([just_below], SelectionPolicy(threshold=0.45, fallback="empty")).kept == ()


@pytest.mark.parametrize(("threshold", "kept"), [(0.0, (1, 0)), (1.0, (1,))])
def test_the_ends_of_the_scale_are_thresholds_too(threshold: float, kept: tuple[int, ...]) -> None:
    assert select([0.0, 1.0], SelectionPolicy(threshold=threshold)).kept == kept


def test_top_k_cuts_after_the_threshold() -> None:
    scores = [0.6, 0.9, 0.7, 0.8, 0.1]
    assert select(scores, SelectionPolicy(top_k=2)).kept == (1, 3)
    assert select(scores, SelectionPolicy(top_k=10)).kept == (1, 3, 2, 0)


def test_ties_stay_in_incoming_order() -> None:
    assert select([0.5, 0.9, 0.5, 0.9], SelectionPolicy(top_k=4)).kept == (1, 3, 0, 2)


@pytest.mark.parametrize(
    ("fallback", "kept"),
    [("top1", (2,)), ("empty", ()), ("original", (0, 1))],
)
def test_the_fallback_says_what_comes_back_if_nothing_passes(fallback: str, kept: tuple[int, ...]) -> None:
    selection = select([0.1, 0.2, 0.4, 0.3], SelectionPolicy(top_k=2, fallback=fallback))  # type: ignore[arg-type]
    assert selection.kept == kept
    assert selection.fell_back
    assert selection.order == (2, 3, 1, 0)


def test_the_fallback_raise_names_the_best_score() -> None:
    with pytest.raises(NothingRelevantError, match=r"none of 3 documents reaches threshold=0\.45.*0\.300") as caught:
        select([0.1, 0.3, 0.2], SelectionPolicy(fallback="raise"))
    assert caught.value.best_score == 0.3


def test_top1_takes_the_first_of_equal_bests() -> None:
    assert select([0.1, 0.3, 0.3], SelectionPolicy()).kept == (1,)


def test_original_gives_what_there_is_when_there_is_less_than_top_k() -> None:
    assert select([0.1, 0.2], SelectionPolicy(top_k=5, fallback="original")).kept == (0, 1)


@pytest.mark.parametrize("fallback", FALLBACK_POLICIES)
def test_no_scores_is_no_fallback(fallback: str) -> None:
    selection = select([], SelectionPolicy(fallback=fallback))  # type: ignore[arg-type]
    assert selection == Selection((), (), fell_back=False)


def test_nan_is_refused_with_its_position() -> None:
    with pytest.raises(ScoringError, match="document 1 is NaN"):
        select([0.9, math.nan, 0.5], SelectionPolicy())


@pytest.mark.parametrize("fallback", ["", "top2", "TOP1", None, []])
def test_an_unknown_fallback_is_refused_with_the_choices(fallback: object) -> None:
    with pytest.raises(ConfigurationError, match="expected one of: top1, empty, original, raise"):
        SelectionPolicy(fallback=fallback)  # type: ignore[arg-type]


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        SelectionPolicy().threshold = 0.9  # type: ignore[misc]


@given(scores_lists, thresholds, top_ks, quiet_fallbacks)
def test_never_more_than_top_k_and_each_once(scores: list[float], threshold: float, top_k: int, fallback: str) -> None:
    selection = select(scores, SelectionPolicy(threshold, top_k, fallback))  # type: ignore[arg-type]
    assert len(selection.kept) <= top_k
    assert len(set(selection.kept)) == len(selection.kept)
    assert sorted(selection.order) == list(range(len(scores)))


@given(scores_lists, thresholds, top_ks, quiet_fallbacks)
def test_kept_is_sorted_by_score(scores: list[float], threshold: float, top_k: int, fallback: str) -> None:
    selection = select(scores, SelectionPolicy(threshold, top_k, fallback))  # type: ignore[arg-type]
    if not (selection.fell_back and fallback == "original"):
        kept = [scores[position] for position in selection.kept]
        assert kept == sorted(kept, reverse=True)


@given(scores_lists, thresholds, top_ks)
def test_kept_is_the_best_of_what_passes(scores: list[float], threshold: float, top_k: int) -> None:
    selection = select(scores, SelectionPolicy(threshold, top_k, "empty"))
    passing = sorted((score for score in scores if score >= threshold), reverse=True)
    assert [scores[position] for position in selection.kept] == passing[:top_k]


@given(scores_lists, thresholds, thresholds, top_ks)
def test_raising_the_threshold_adds_nothing(scores: list[float], one: float, other: float, top_k: int) -> None:
    low, high = sorted((one, other))
    kept_low = select(scores, SelectionPolicy(low, top_k, "empty")).kept
    kept_high = select(scores, SelectionPolicy(high, top_k, "empty")).kept
    assert kept_high == kept_low[: len(kept_high)]


@given(scores_lists, thresholds, top_ks)
def test_raising_top_k_only_adds_at_the_end(scores: list[float], threshold: float, top_k: int) -> None:
    fewer = select(scores, SelectionPolicy(threshold, top_k, "empty")).kept
    more = select(scores, SelectionPolicy(threshold, top_k + 1, "empty")).kept
    assert more[: len(fewer)] == fewer


@given(st.lists(st.floats(0.0, 1.0), max_size=20, unique=True), thresholds, top_ks, st.randoms(use_true_random=False))
def test_the_incoming_order_matters_for_ties_only(
    scores: list[float], threshold: float, top_k: int, random: random_module.Random
) -> None:
    shuffled = scores.copy()
    random.shuffle(shuffled)
    policy = SelectionPolicy(threshold, top_k)
    before = [scores[position] for position in select(scores, policy).kept]
    after = [shuffled[position] for position in select(shuffled, policy).kept]
    assert before == after


@given(tied_lists, thresholds, top_ks)
def test_equal_scores_keep_their_incoming_order(scores: list[float], threshold: float, top_k: int) -> None:
    selection = select(scores, SelectionPolicy(threshold, top_k, "empty"))
    for sequence in (selection.kept, selection.order):
        assert all(scores[left] > scores[right] or left < right for left, right in pairwise(sequence))


@given(scores_lists, thresholds, top_ks, quiet_fallbacks)
def test_it_falls_back_only_when_nothing_passes(
    scores: list[float], threshold: float, top_k: int, fallback: str
) -> None:
    selection = select(scores, SelectionPolicy(threshold, top_k, fallback))  # type: ignore[arg-type]
    nothing_passes = bool(scores) and max(scores) < threshold
    assert selection.fell_back == nothing_passes
    if not selection.fell_back:
        assert all(scores[position] >= threshold for position in selection.kept)


@given(scores_lists, thresholds, top_ks, quiet_fallbacks)
def test_it_is_pure(scores: list[float], threshold: float, top_k: int, fallback: str) -> None:
    before = scores.copy()
    policy = SelectionPolicy(threshold, top_k, fallback)  # type: ignore[arg-type]
    assert select(scores, policy) == select(scores, policy) == select(tuple(scores), policy)
    assert scores == before
