"""Retrieval and calibration metrics, small enough to check by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def ndcg(ranking: Sequence[str], grades: Mapping[str, int], k: int = 10) -> float:
    """Normalised discounted cumulative gain at `k`, with the grades as gains (trec_eval's `ndcg_cut`).

    0 where nothing is relevant; unjudged documents gain nothing.
    """
    gained = sum(max(grades.get(d, 0), 0) / math.log2(rank + 2) for rank, d in enumerate(ranking[:k]))
    ideal = sorted((max(grade, 0) for grade in grades.values()), reverse=True)[:k]
    best = sum(grade / math.log2(rank + 2) for rank, grade in enumerate(ideal))
    return gained / best if best else 0.0


def pair_accuracy(scores: Mapping[str, float], grades: Mapping[str, int]) -> float | None:
    """The share of pairs of judged documents with different grades that the scores order rightly; ties count half.

    None where there is no such pair. Documents without a score are left out.
    """
    judged = [d for d in grades if d in scores]
    right, pairs = 0.0, 0
    for better in judged:
        for worse in judged:
            if grades[better] > grades[worse]:
                pairs += 1
                right += (scores[better] > scores[worse]) + 0.5 * (scores[better] == scores[worse])
    return right / pairs if pairs else None


def expected_calibration_error(
    probabilities: Sequence[float] | FloatArray, outcomes: Sequence[bool] | npt.NDArray[np.bool_], bins: int = 10
) -> float:
    """The mean gap between stated probability and observed frequency over equal-width bins, weighted by bin size.

    Source: Naeini et al., AAAI 2015.
    """
    stated, happened = np.asarray(probabilities, float), np.asarray(outcomes, float)
    which = np.minimum((stated * bins).astype(int), bins - 1)
    gap = 0.0
    for number in range(bins):
        inside = which == number
        if inside.any():
            gap += inside.mean() * abs(stated[inside].mean() - happened[inside].mean())
    return float(gap)


def bootstrap_interval(
    values: Sequence[float] | FloatArray, *, seed: int = 0, rounds: int = 2000
) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean of one value a question."""
    sample = np.asarray(values, float)
    if not len(sample):
        return (math.nan, math.nan)
    draws = np.random.default_rng(seed).integers(0, len(sample), (rounds, len(sample)))
    low, high = np.percentile(sample[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
