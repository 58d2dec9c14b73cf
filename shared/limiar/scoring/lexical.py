"""Words as numbers, and how closely a passage repeats the query's phrases.

A word is compared by two keys, its Portuguese and its English stem, and matches if either agrees: one passage store
serves both languages without guessing which one a text is in.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from limiar.text.analyzer import Analyzer

WordKeys = npt.NDArray[np.uint32]

_WORD = re.compile(r"\w+")
_LONGEST_WORD = 64
_ANALYZERS = (Analyzer("pt"), Analyzer("en"))


def word_keys(text: str) -> WordKeys:
    """The content words of `text` in order, as uint32 (words, 2): the key of the Portuguese and of the English stem."""
    words = _WORD.findall(unicodedata.normalize("NFC", text).lower())
    keys = [key for word in words if (key := _keys(word[:_LONGEST_WORD])) is not None]
    return np.array(keys, dtype=np.uint32).reshape(-1, 2)


def distinct(keys: WordKeys) -> WordKeys:
    """`keys` without repetitions, first occurrences in order."""
    return np.array(list(dict.fromkeys(map(tuple, keys.tolist()))), dtype=np.uint32).reshape(-1, 2)


@lru_cache(maxsize=200_000)
def _keys(word: str) -> tuple[int, int] | None:
    """None for a function word of either language."""
    stems = [analyze(word) for analyze in _ANALYZERS]
    if not all(stems):
        return None
    portuguese, english = (zlib.crc32(stem[0].encode("utf-8", "replace")) for stem in stems)
    return portuguese, english


def phrase_closeness(query: WordKeys, passages: Sequence[WordKeys]) -> npt.NDArray[np.float64]:
    """How closely each passage keeps neighbouring query words together: float64 (passages,), in [0, 1].

    For each pair of neighbours in the query, 1 / (the smallest distance between the two in the passage, in content
    words), 0 if either is absent; the mean over the pairs. A query of one word: 1 where it occurs, else 0.
    """
    closeness = np.zeros(len(passages))
    words = np.concatenate([np.empty((0, 2), np.uint32), *passages])
    if not len(query) or not len(words):
        return closeness
    owners = np.repeat(np.arange(len(passages)), [len(passage) for passage in passages])
    found = [np.flatnonzero((words[:, 0] == p) | (words[:, 1] == e)) for p, e in query]
    if len(query) == 1:
        closeness[owners[found[0]]] = 1.0
        return closeness
    for left, right in pairwise(found):
        closeness += _inverse_distance(left, right, owners, len(passages))
    return closeness / (len(query) - 1)


def _inverse_distance(
    left: npt.NDArray[np.intp], right: npt.NDArray[np.intp], owners: npt.NDArray[np.intp], n_passages: int
) -> npt.NDArray[np.float64]:
    """1 / the smallest distance between a member of `left` and one of `right` in the same passage, or 0."""
    best = np.zeros(n_passages)
    if not len(left) or not len(right):
        return best
    after = np.searchsorted(right, left)
    for neighbour in (after, after - 1):
        inside = (neighbour >= 0) & (neighbour < len(right))
        positions = left[inside]
        others = right[neighbour[inside]]
        same = owners[positions] == owners[others]
        distances = np.maximum(np.abs(positions[same] - others[same]), 1)
        np.maximum.at(best, owners[positions[same]], 1.0 / distances)
    return best
