"""How a fusion is written into the metadata of the documents it returns, the same in every framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from limiar.retrieval.fusion import FusedHit

FUSION_KEYS = frozenset({"fused_score", "retrieval", "retrieval_skipped"})


def fusion_marks(hit: FusedHit, skipped: Mapping[str, str]) -> dict[str, Any]:
    """What to add to a returned document's metadata; only values that JSON can hold.

    - `fused_score`: a float, comparable within one result only;
    - `retrieval`: by arm name, `{"rank": int, "score": float | None}`, the rank from 1; an arm that did not find the
      document is absent. One nested value, because arms may have any name;
    - `retrieval_skipped`: by arm name, why it was left out; absent if none was.

    Args:
        hit: the document's place in the fused list.
        skipped: the arms that were left out.
    """
    arms = {name: {"rank": found.rank, "score": found.score} for name, found in hit.arms.items()}
    added: dict[str, Any] = {"fused_score": hit.score, "retrieval": arms}
    if skipped:
        added["retrieval_skipped"] = dict(skipped)
    return added


def without_fusion_marks(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `metadata` without what an earlier fusion added."""
    return {key: value for key, value in metadata.items() if key not in FUSION_KEYS}
