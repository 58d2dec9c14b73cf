"""Makes the calibration of the bundled scorer from judged collections; deterministic."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from limiar.embeddings.bundled import BundledEncoder
from limiar.embeddings.model_files import CALIBRATION, ENCODER_BIN, read_manifest
from limiar.evaluation.dataset import load_collection
from limiar.modelbuild.candidates import Candidates, Progress, gather
from limiar.modelbuild.fit import fit, out_of_fold_logits
from limiar.modelbuild.recipe import Recipe
from limiar.modelbuild.report import Figures, figures
from limiar.scoring.calibration import FEATURES, Calibration
from limiar.scoring.late_interaction import LateInteractionScorer

_CACHE_MB = 4000
_DIGITS = 6


@dataclass(frozen=True)
class CalibrationRun:
    """A fitted calibration and what it does on questions that it was not fitted on."""

    calibration: Calibration
    cross_validated: list[Figures]


def calibrate(data: Path, recipe: Recipe, encoder: BundledEncoder, progress: Progress | None = None) -> CalibrationRun:
    """Fit on every question of the recipe; measure by cross-validation over questions.

    Args:
        data: the folder that holds the recipe's collections.
        recipe: which collections, and how.
        encoder: the encoder to calibrate.
        progress: called with (what, done, total).

    Raises:
        InputError: a collection is missing or unreadable.
        MissingExtraError: scikit-learn or bm25s is not installed.
    """
    centre = token_centre(data, recipe, encoder)
    digest = str(dict(read_manifest(encoder.folder)["sha256"])[ENCODER_BIN])  # type: ignore[call-overload]
    start = Calibration(digest, (1.0, *[0.0] * (len(FEATURES) - 1)), 0.0, centre)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CALIBRATION
        start.save(path)
        gathered = gather(data, recipe, LateInteractionScorer(encoder, calibration=path, cache_mb=_CACHE_MB), progress)
    model = fit(gathered)
    held_out = cross_validated(gathered, recipe)
    weights = tuple(round(float(w), _DIGITS) for w in model.weights)
    facts: dict[str, object] = {
        "features": list(FEATURES),
        "recipe": asdict(recipe),
        "cross_validated": [asdict(f) for f in held_out],
    }
    return CalibrationRun(Calibration(digest, weights, round(model.intercept, _DIGITS), centre, facts), held_out)


def cross_validated(gathered: Sequence[Candidates], recipe: Recipe) -> list[Figures]:
    """The figures of every collection under fits that never saw the question at hand."""
    logits = out_of_fold_logits(gathered, recipe)
    return [figures(entry.name, gathered, logits) for entry in recipe.collections]


def token_centre(data: Path, recipe: Recipe, encoder: BundledEncoder) -> tuple[float, ...]:
    """The mean unit token vector over a seeded sample of passages of every collection (no judgment is read)."""
    total, count = np.zeros(encoder.dimensions), 0
    rows = encoder.content_rows("passage")
    for entry in recipe.collections:
        passages = load_collection(data / entry.name, entry.splits[0]).passages
        size = min(recipe.centre_sample, len(passages))
        sample = np.random.default_rng(recipe.seed).choice(len(passages), size, replace=False)
        texts = encoder.tokenize_batch([passages[place].full_text for place in sorted(sample)])
        for hidden in encoder.token_vectors([window for text in texts for window in text.windows], "passage"):
            content = hidden[rows].astype(np.float64)
            total += (content / np.linalg.norm(content, axis=1, keepdims=True)).sum(axis=0)
            count += len(content)
    return tuple(round(float(x), _DIGITS) for x in total / count)
