"""Fits the features' weights for order, then the probability; and the same out of fold."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from limiar.errors import MissingExtraError
from limiar.modelbuild.candidates import Candidates
from limiar.modelbuild.recipe import Recipe

FloatArray = npt.NDArray[np.float64]

_REGULARISATION = 10.0


@dataclass(frozen=True)
class LinearModel:
    """logit = features @ weights + intercept."""

    weights: FloatArray
    intercept: float

    def logits(self, features: FloatArray) -> FloatArray:
        logits: FloatArray = features @ self.weights + self.intercept
        return logits


def fit(gathered: Sequence[Candidates]) -> LinearModel:
    """Two logistic regressions.

    First the order: on differences of features between a more and a less relevant passage of one question, each
    question counting the same within its split and each collection as its recipe says. Then the probability: on that
    sum alone (Platt scaling) over all pairs whose relevance is known, foreign ones too, each pair counting the same
    within its collection and each collection as its recipe says.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        feature = "calibration"
        raise MissingExtraError(feature, "model") from error

    everything = np.concatenate([c.features for c in gathered])
    spread = everything.std(axis=0)
    differences, counts = _preferences(gathered)
    order = LogisticRegression(C=_REGULARISATION, fit_intercept=False, max_iter=1000)
    order.fit(
        np.concatenate([differences, -differences]) / spread,
        np.repeat([1, 0], len(differences)),
        sample_weight=np.tile(counts / counts.mean(), 2),
    )
    weights = order.coef_[0] / spread
    sums = np.concatenate([c.features[c.usable] @ weights for c in gathered])
    outcomes = np.concatenate([c.relevant[c.usable] for c in gathered])
    probability = LogisticRegression(C=_REGULARISATION, max_iter=1000)
    probability.fit(sums[:, None], outcomes, sample_weight=_pair_weights(gathered))
    slope, intercept = float(probability.coef_[0, 0]), float(probability.intercept_[0])
    return LinearModel(weights * slope, intercept)


def out_of_fold_logits(gathered: Sequence[Candidates], recipe: Recipe) -> list[FloatArray]:
    """The logits of each member of `gathered` under a fit that never saw its question."""
    folds = np.array([fold_of(c, recipe.folds) for c in gathered])
    logits: list[FloatArray] = [np.empty(0)] * len(gathered)
    for number in range(recipe.folds):
        model = fit([c for c, fold in zip(gathered, folds, strict=True) if fold != number])
        for place in map(int, np.flatnonzero(folds == number)):
            logits[place] = model.logits(gathered[place].features)
    return logits


def fold_of(candidates: Candidates, folds: int) -> int:
    """Which fold a question belongs to; all its candidates go together."""
    name = f"{candidates.collection.name}/{candidates.question.id}"
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % folds


def _pair_weights(gathered: Sequence[Candidates]) -> FloatArray:
    """For each pair of known relevance, its collection's weight shared among the collection's pairs; of mean 1."""
    sizes: dict[str, int] = {}
    for c in gathered:
        sizes[c.collection.name] = sizes.get(c.collection.name, 0) + int(c.usable.sum())
    weights = np.concatenate(
        [np.full(int(c.usable.sum()), c.collection.weight / sizes[c.collection.name]) for c in gathered]
    )
    scaled: FloatArray = weights / weights.mean()
    return scaled


def _preferences(gathered: Sequence[Candidates]) -> tuple[FloatArray, FloatArray]:
    """Feature differences of each (more relevant, less relevant) pair, and what each pair counts."""
    own = [c for c in gathered if not c.foreign]
    questions: dict[tuple[str, str], int] = {}
    for c in own:
        questions[c.collection.name, c.split] = questions.get((c.collection.name, c.split), 0) + 1
    differences, counts = [], []
    for c in own:
        grades = c.grades if c.collection.relevant_from < c.grades.max(initial=0) else c.relevant.astype(int)
        better, worse = np.nonzero((grades[:, None] > grades[None, :]) & c.usable[:, None] & c.usable[None, :])
        if not len(better):
            continue
        differences.append(c.features[better] - c.features[worse])
        share = c.collection.weight / len(c.collection.splits) / questions[c.collection.name, c.split]
        counts.append(np.full(len(better), share / len(better)))
    return np.concatenate(differences), np.concatenate(counts)
