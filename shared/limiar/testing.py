"""Real, small scorers and an encoder for tests of your own chains: no model, no download, the same answers always."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from limiar.scoring.protocol import Scale

if TYPE_CHECKING:
    from limiar.embeddings.protocol import FloatArray, Progress


class FakeScorer:
    """Answers from a table, or fails as told.

    Args:
        scores: what each text gets.
        default: what a text outside the table gets.
        scale: "probability" (the default) or "logit".
        error: raised at every call, to test what your chain does then.

    Attributes:
        calls: the (query, texts) of every call so far.

    Example:
        >>> scorer = FakeScorer({"relevant": 0.9}, default=0.1)
        >>> scorer.score("anything", ["relevant", "other"])
        [0.9, 0.1]
    """

    def __init__(
        self,
        scores: Mapping[str, float] | None = None,
        *,
        default: float = 0.0,
        scale: Scale = "probability",
        error: Exception | None = None,
        model_id: str = "limiar/fake",
    ) -> None:
        self.scores = dict(scores or {})
        self.default = default
        self.scale: Scale = scale
        self.error = error
        self.model_id = model_id
        self.calls: list[tuple[str, list[str]]] = []

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        self.calls.append((query, list(texts)))
        if self.error is not None:
            raise self.error
        return [self.scores.get(text, self.default) for text in texts]


class KeywordScorer:
    """The share of the query's words that a text contains, as a probability.

    Example:
        >>> KeywordScorer().score("proxmox quorum", ["Quorum in Proxmox", "Ceph quorum", "Cake"])
        [1.0, 0.5, 0.0]
    """

    model_id = "limiar/keyword"
    scale: Scale = "probability"

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        wanted = _words(query)
        return [len(wanted & _words(text)) / len(wanted) if wanted else 0.0 for text in texts]


class WordsEncoder:
    """Texts as counts of their words, hashed into a vector of length 1; a text without words has its own direction.

    Args:
        dimensions: the length of the vectors; at least 2.
        error: raised at every call, to test what your chain does then.

    Attributes:
        embedded: every document text embedded so far, in order.

    Example:
        >>> encoder = WordsEncoder()
        >>> float(encoder.embed_query("edital aberto") @ encoder.embed_documents(["Aberto: edital"])[0]) > 0.99
        True
    """

    def __init__(self, dimensions: int = 64, *, error: Exception | None = None, model_id: str = "limiar/words") -> None:
        self.dimensions = dimensions
        self.error = error
        self.model_id = model_id
        self.embedded: list[str] = []

    def embed_query(self, text: str) -> FloatArray:
        if self.error is not None:
            raise self.error
        return self._vector(text)

    def embed_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> FloatArray:
        if self.error is not None:
            raise self.error
        self.embedded.extend(texts)
        if progress is not None:
            progress(len(texts), len(texts))
        import numpy as np

        return np.array([self._vector(text) for text in texts], np.float32).reshape(-1, self.dimensions)

    def _vector(self, text: str) -> FloatArray:
        import numpy as np

        vector = np.zeros(self.dimensions, np.float32)
        for word in re.findall(r"\w+", text.lower()):
            vector[1 + zlib.crc32(word.encode()) % (self.dimensions - 1)] += 1.0
        vector[0] = float(not vector.any())
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
