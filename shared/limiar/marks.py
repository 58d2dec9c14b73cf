"""How a rerank is written into the metadata of the documents it returns, the same in every framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from limiar.rerank import ScoredDocument

MARK_KEYS = frozenset(
    {
        "relevance_score",
        "relevance_logit",
        "relevance_rank",
        "relevance_passed",
        "relevance_truncated",
        "relevance_error",
    }
)


def marks(scored: ScoredDocument, error: str | None) -> dict[str, Any]:
    """What to add to a returned document's metadata; only values that JSON can hold.

    - `relevance_score`: a float in [0, 1]; absent if the scorer failed;
    - `relevance_logit`: the raw logit; absent if there is none;
    - `relevance_rank`: the rank before reranking, from 1;
    - `relevance_passed`: whether the score reaches the threshold;
    - `relevance_truncated`: True if the scorer could not read the text to its end, else absent;
    - `relevance_error`: why the incoming order was kept; absent if the scorer did not fail.

    Args:
        scored: the document's place in the result.
        error: the result's `error`.
    """
    added: dict[str, Any] = {"relevance_rank": scored.original_rank, "relevance_passed": scored.passed}
    if error is not None:
        added["relevance_error"] = error
    else:
        added["relevance_score"] = scored.score
    if scored.logit is not None:
        added["relevance_logit"] = scored.logit
    if scored.truncated:
        added["relevance_truncated"] = True
    return added


def unmarked(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `metadata` without what an earlier rerank added."""
    return {key: value for key, value in metadata.items() if key not in MARK_KEYS}
