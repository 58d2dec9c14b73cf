"""Metrics on rankings whose answers a reader can check by hand."""

import math

import pytest

from limiar.evaluation.metrics import bootstrap_interval, expected_calibration_error, ndcg, pair_accuracy


def test_ndcg_of_the_ideal_order_is_one() -> None:
    assert ndcg(["a", "b", "c"], {"a": 3, "b": 1}) == 1.0


def test_ndcg_discounts_by_log2_of_rank_plus_one() -> None:
    assert ndcg(["x", "a"], {"a": 1}) == pytest.approx(1 / math.log2(3))


def test_ndcg_uses_grades_as_gains() -> None:
    got = ndcg(["b", "a"], {"a": 3, "b": 1})
    assert got == pytest.approx((1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)))


def test_ndcg_stops_at_k() -> None:
    assert ndcg(["x", "a"], {"a": 1}, k=1) == 0.0


def test_ndcg_without_relevant_documents_is_zero() -> None:
    assert ndcg(["a"], {}) == 0.0
    assert ndcg([], {"a": 1}) == 0.0


def test_pair_accuracy_counts_ties_half() -> None:
    assert pair_accuracy({"a": 0.9, "b": 0.1}, {"a": 2, "b": 1}) == 1.0
    assert pair_accuracy({"a": 0.5, "b": 0.5}, {"a": 2, "b": 1}) == 0.5
    assert pair_accuracy({"a": 0.1, "b": 0.9, "c": 0.0}, {"a": 2, "b": 1, "c": 1}) == 0.5


def test_pair_accuracy_without_pairs_is_none() -> None:
    assert pair_accuracy({"a": 0.5, "b": 0.1}, {"a": 1, "b": 1}) is None


def test_calibration_error_of_honest_probabilities_is_zero() -> None:
    assert expected_calibration_error([0.5] * 4, [True, False, True, False]) == 0.0


def test_calibration_error_of_overconfidence() -> None:
    assert expected_calibration_error([0.95, 0.95], [True, False]) == pytest.approx(0.45)


def test_bootstrap_interval_holds_the_mean_and_is_reproducible() -> None:
    low, high = bootstrap_interval([0.0, 1.0] * 50)
    assert 0.38 < low < 0.5 < high < 0.62
    assert bootstrap_interval([0.0, 1.0] * 50) == (low, high)
    assert all(math.isnan(bound) for bound in bootstrap_interval([]))
