"""Directions, neighbours: the arithmetic of the offline generator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]

_LEAST_COSINE = 0.6
_NEAREST_WORDS = 8
_ROWS_PER_ROUND = 512


def directions(vectors: FloatArray, centre: FloatArray) -> FloatArray:
    """Rows less what all have in common, scaled to length 1; a row that is the centre stays zero."""
    moved = vectors - centre
    lengths = np.sqrt(np.einsum("ij,ij->i", moved, moved))
    scaled: FloatArray = moved / np.maximum(lengths, np.float32(1e-6))[:, None]
    return scaled


def best(scores: FloatArray, count: int) -> Places:
    """Where the `count` highest finite scores are, highest first; ties in order."""
    places = np.arange(len(scores))
    if len(scores) > count:
        places = np.sort(np.argpartition(-scores, count)[:count])
    places = places[np.isfinite(scores[places])]
    ordered: Places = places[np.argsort(-scores[places], kind="stable")]
    return ordered


def nearest_words(stems: Sequence[str], vectors: FloatArray) -> dict[str, list[str]]:
    """For each stem those with the nearest vectors, nearest first: at most 8, of a centred cosine of 0.6 or more."""
    if not stems:
        return {}
    rows = directions(vectors, vectors.mean(axis=0))
    found: dict[str, list[str]] = {}
    for start in range(0, len(stems), _ROWS_PER_ROUND):
        cosines = rows[start : start + _ROWS_PER_ROUND] @ rows.T
        for stem, near in zip(stems[start : start + _ROWS_PER_ROUND], cosines, strict=True):
            places = best(near, _NEAREST_WORDS + 1)
            found[stem] = [stems[place] for place in places if near[place] >= _LEAST_COSINE and stems[place] != stem]
    return found
