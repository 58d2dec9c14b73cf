"""Real, small scorers for tests of your own chains: no model, no download, the same answer every time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from limiar.scoring.protocol import Scale


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


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
