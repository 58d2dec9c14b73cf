"""What a scorer does on gathered candidates: order, probability, threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from limiar.evaluation.metrics import bootstrap_interval, expected_calibration_error, ndcg, pair_accuracy
from limiar.modelbuild.candidates import UNJUDGED, Candidates
from limiar.selection import DEFAULT_THRESHOLD, SelectionPolicy, select

FloatArray = npt.NDArray[np.float64]

FIRST_STAGE_SHOWN = 5


@dataclass(frozen=True)
class Figures:
    """Means over the questions of one collection, with 95 % bootstrap intervals where two numbers follow.

    Attributes:
        ndcg: of the reranked pool, at 10.
        ndcg_first_stage: of the pool in BM25's order.
        pair_accuracy: among judged passages.
        calibration_error: expected, over the pool's pairs of known relevance.
        irrelevant_before: share of irrelevant passages in BM25's first five.
        irrelevant_after: the same in what the default selection keeps.
        recall_ratio: relevant passages kept, as a share of those in BM25's first five.
        foreign_alarms: share of foreign questions whose best passage passes the threshold.
    """

    name: str
    questions: int
    ndcg: float
    ndcg_interval: tuple[float, float]
    ndcg_first_stage: float
    pair_accuracy: float
    calibration_error: float
    irrelevant_before: float
    irrelevant_after: float
    recall_ratio: float
    foreign_alarms: float

    @property
    def reduction(self) -> float:
        """The relative drop of the share of irrelevant passages."""
        return 1 - self.irrelevant_after / self.irrelevant_before if self.irrelevant_before else 0.0


def figures(
    name: str, gathered: Sequence[Candidates], logits: Sequence[FloatArray], *, first: int | None = None
) -> Figures:
    """The figures of collection `name`, split "dev".

    Args:
        name: the collection.
        gathered: candidates of all collections.
        logits: one array for each of them.
        first: only so many questions, in file order.
    """
    both = [(c, v) for c, v in zip(gathered, logits, strict=True) if (c.collection.name, c.split) == (name, "dev")]
    own = [(c, values) for c, values in both if not c.foreign][:first]
    gains = [_ndcg(c, values) for c, values in own]
    pairs = [accuracy for c, values in own if (accuracy := _pair_accuracy(c, values)) is not None]
    before, after, kept_relevant, shown_relevant = _threshold_effect(own)
    probabilities = np.concatenate([_sigmoid(values[c.in_pool & c.usable]) for c, values in own])
    outcomes = np.concatenate([c.relevant[c.in_pool & c.usable] for c, _ in own])
    alarms = [_sigmoid(values).max() >= DEFAULT_THRESHOLD for c, values in both if c.foreign]
    return Figures(
        name=name,
        questions=len(own),
        ndcg=float(np.mean(gains)),
        ndcg_interval=bootstrap_interval(gains),
        ndcg_first_stage=float(np.mean([_ndcg(c, c.bm25) for c, _ in own])),
        pair_accuracy=float(np.mean(pairs)) if pairs else float("nan"),
        calibration_error=expected_calibration_error(probabilities, outcomes),
        irrelevant_before=before,
        irrelevant_after=after,
        recall_ratio=kept_relevant / max(shown_relevant, 1),
        foreign_alarms=float(np.mean(alarms)) if alarms else float("nan"),
    )


def _ndcg(c: Candidates, values: FloatArray) -> float:
    pool = np.flatnonzero(c.in_pool)
    order = pool[np.lexsort((-c.bm25[pool], -values[pool]))]
    grades = {str(place): max(int(grade), 0) for place, grade in zip(c.passages, c.grades, strict=True)}
    return ndcg([str(c.passages[place]) for place in order], grades)


def _pair_accuracy(c: Candidates, values: FloatArray) -> float | None:
    judged = np.flatnonzero(c.grades != UNJUDGED)
    scores = {str(place): float(values[place]) for place in judged}
    return pair_accuracy(scores, {str(place): int(c.grades[place]) for place in judged})


def _threshold_effect(own: Sequence[tuple[Candidates, FloatArray]]) -> tuple[float, float, int, int]:
    shown = shown_relevant = kept = kept_relevant = 0
    for c, values in own:
        pool = np.flatnonzero(c.in_pool)
        pool = pool[np.argsort(-c.bm25[pool], kind="stable")]
        first = pool[:FIRST_STAGE_SHOWN]
        chosen = pool[list(select([float(p) for p in _sigmoid(values[pool])], SelectionPolicy()).kept)]
        shown, shown_relevant = shown + len(first), shown_relevant + int(c.relevant[first].sum())
        kept, kept_relevant = kept + len(chosen), kept_relevant + int(c.relevant[chosen].sum())
    return 1 - shown_relevant / shown, 1 - kept_relevant / kept, kept_relevant, shown_relevant


def _sigmoid(values: FloatArray) -> FloatArray:
    probabilities: FloatArray = 1 / (1 + np.exp(-np.clip(values, -500, 500)))
    return probabilities
