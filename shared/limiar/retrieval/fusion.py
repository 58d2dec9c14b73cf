"""Several ranked lists made one: a pure function of ids, ranks and scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from limiar.errors import ConfigurationError, InputError
from limiar.retrieval.checks import check_count, check_weights
from limiar.selection import check_choice

FusionMethod = Literal["rrf", "relative", "distribution"]
FUSION_METHODS: tuple[str, ...] = get_args(FusionMethod)

DEFAULT_RRF_K = 60


Ranked: TypeAlias = dict[str, tuple[int, float | None]]


@dataclass(frozen=True)
class Arm:
    """What one first stage found.

    Args:
        name: distinct among the arms that are fused.
        hits: (id, score) best first; the score is None where the arm has none. An id that comes twice counts once, at
            its best rank.
        drop_zero: hits with a score of zero or below are no hits. For lexical arms such as BM25, where zero says that
            no term was found; not for cosines or logits, where it says nothing of the kind.
    """

    name: str
    hits: Sequence[tuple[str, float | None]]
    drop_zero: bool = False


@dataclass(frozen=True)
class ArmHit:
    """Where an arm had a document: its rank, from 1, among the hits that count, and its own score."""

    rank: int
    score: float | None


@dataclass(frozen=True)
class FusedHit:
    """One document of the fused list.

    Attributes:
        id: the document.
        score: the fused score; comparable within one fused list only.
        arms: by arm name, rank and score there; an arm that did not find the document is absent.
    """

    id: str
    score: float
    arms: Mapping[str, ArmHit]


def fuse(
    arms: Sequence[Arm],
    *,
    method: FusionMethod = "rrf",
    weights: Mapping[str, float] | None = None,
    rrf_k: int = DEFAULT_RRF_K,
    limit: int | None = None,
) -> list[FusedHit]:
    """Fuse the arms' hits.

    Args:
        arms: in order of precedence for ties.
        method: "rrf": `weight / (rrf_k + rank)`, summed (Cormack, Clarke and Büttcher, SIGIR 2009, with weights);
            needs no scores. "relative": each arm's scores stretched from 0 (its worst hit) to 1 (its best), then the
            weighted mean (min-max and CombSUM: Fox and Shaw, TREC-2, 1994; Lee, SIGIR 1997); hits that all score the
            same get 1. "distribution": the same with 0 and 1 at the mean minus and plus three standard deviations
            (Mazzeschi, "Distribution-Based Score Fusion", 2023), not clipped, so that each arm's order is kept; hits
            that all score the same get 0.5. Where an arm has no such hit it adds 0.
        weights: arm name to weight; 1 for arms not named. A zero-weight arm adds nothing, and a document that only
            such arms found is not returned; the others still show its rank there.
        rrf_k: the constant of "rrf".
        limit: return at most so many; None for all.

    Returns:
        Best first. Equal scores are ordered by best rank in any arm that counts, then by the order of the arms.

    Raises:
        ConfigurationError: a parameter is out of range, a weight names no arm, or two arms have one name.
        InputError: a score is not finite, or `method` needs scores and an arm has none.

    Example:
        >>> fused = fuse([Arm("bm25", [("a", 7.1), ("b", 3.0)]), Arm("dense", [("b", 0.9)])])
        >>> [(hit.id, round(hit.score, 4)) for hit in fused]
        [('b', 0.0325), ('a', 0.0164)]
    """
    names = [arm.name for arm in arms]
    if len(set(names)) != len(names):
        msg = f"two arms have one name: {', '.join(names)}"
        raise ConfigurationError(msg)
    check_choice("method", method, FUSION_METHODS)
    check_count("rrf_k", rrf_k)
    if limit is not None:
        check_count("limit", limit)
    weight_of = check_weights("arm", weights, names)
    ranked = {arm.name: _ranked(arm) for arm in arms}
    shares: dict[str, list[float]] = {}
    best: dict[str, tuple[int, int]] = {}
    for position, name in enumerate(names):
        if weight_of[name]:
            worth = _points(name, ranked[name], method, rrf_k)
            for rank, (document, points) in enumerate(worth.items(), 1):
                shares.setdefault(document, []).append(weight_of[name] * points)
                if document not in best or rank < best[document][0]:
                    best[document] = (rank, position)
    total = 1.0 if method == "rrf" else math.fsum(weight_of.values())
    scores = {document: math.fsum(parts) / total for document, parts in shares.items()}
    order = sorted(scores, key=lambda document: (-scores[document], best[document]))
    return [FusedHit(document, scores[document], _places(document, ranked)) for document in order[:limit]]


def _places(document: str, ranked: Mapping[str, Ranked]) -> dict[str, ArmHit]:
    return {name: ArmHit(*hits[document]) for name, hits in ranked.items() if document in hits}


def _ranked(arm: Arm) -> Ranked:
    """The arm's hits that count, in order, each id once."""
    hits: Ranked = {}
    for document, score in arm.hits:
        if score is not None and not math.isfinite(score):
            msg = f"arm {arm.name!r} gives a document the score {score}; expected a finite number or None"
            raise InputError(msg)
        no_hit = arm.drop_zero and score is not None and score <= 0.0
        if document not in hits and not no_hit:
            hits[document] = (len(hits) + 1, None if score is None else float(score))
    return hits


def _points(name: str, hits: Ranked, method: FusionMethod, rrf_k: int) -> dict[str, float]:
    """What each hit is worth before weighting, in order."""
    if method == "rrf":
        return {document: 1.0 / (rrf_k + rank) for document, (rank, _) in hits.items()}
    scores: dict[str, float] = {}
    for document, (_, score) in hits.items():
        if score is None:
            msg = f"arm {name!r} has hits without a score; method={method!r} needs scores (method='rrf' does not)"
            raise InputError(msg)
        scores[document] = score
    if not scores:
        return {}
    zero, one, if_equal = _limits(list(scores.values()), method)
    span = one - zero
    return {document: (score - zero) / span if span > 0.0 else if_equal for document, score in scores.items()}


def _limits(scores: Sequence[float], method: FusionMethod) -> tuple[float, float, float]:
    """The scores worth 0 and 1, and what hits are worth if all score the same."""
    if method == "relative" or min(scores) == max(scores):
        return min(scores), max(scores), 1.0 if method == "relative" else 0.5
    mean = math.fsum(scores) / len(scores)
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores))
    return mean - 3.0 * deviation, mean + 3.0 * deviation, 0.5
