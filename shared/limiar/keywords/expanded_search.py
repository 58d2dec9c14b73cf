"""A search by a query and its other wordings, fused."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from limiar.errors import ArmError, ConfigurationError
from limiar.inputs import check_query
from limiar.keywords.query_expansion import QueryExpander, QueryVariants
from limiar.retrieval.arm_threads import search_threads
from limiar.retrieval.arms import ArmResults, arun_arms, run_arms
from limiar.retrieval.checks import check_count
from limiar.retrieval.filters import parse_filter
from limiar.retrieval.fusion import Arm, ArmHit, FusedHit, fuse
from limiar.retrieval.index_options import IndexSearch
from limiar.retrieval.index_results import HybridHit, HybridResult

DEFAULT_VARIANT_WEIGHT = 0.3
_QUERY = "query"
EXPANSION = "query expansion"

T = TypeVar("T")


@dataclass(frozen=True)
class ExpandedSearch(IndexSearch):
    """The settings of searches in one index by a query and its variants; see `IndexSearch` for those of the index.

    While the chat model thinks, the query itself is searched. If the model fails or is late, that is the answer, and
    `skipped` of the result says why under "query expansion". Else the variants are searched in parallel, and the lists
    are fused. A hit's arms are those of the index where the query itself found it, and "variant 1" and so on; an arm
    of the index that a variant's search left out is in `skipped` as "variant 1 dense".

    No variant weighs as much as the query. As long as all of them together do not either (three of 0.3, by default),
    what the query itself ranks first stays before everything that only variants found, by "relative" and by "rrf".

    Args:
        expander: asks for the variants; None for the plain query.
        variant_weight: of each variant, in (0, 1); the query has 1.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    expander: QueryExpander | None = None
    variant_weight: float = DEFAULT_VARIANT_WEIGHT

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.expander is not None and not isinstance(self.expander, QueryExpander):
            msg = f"expander is {type(self.expander).__name__}; expected a limiar.QueryExpander or None"
            raise ConfigurationError(msg)
        weight = self.variant_weight
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight) or not 0.0 < weight < 1.0:
            msg = f"variant_weight={weight!r}; expected a number between 0 and 1: the query itself has 1"
            raise ConfigurationError(msg)

    def run(self, query: str, k: int, where: Mapping[str, Any] | None = None) -> HybridResult:
        if self.expander is None:
            return super().run(query, k, where)
        search, depth = super().run, self._checked(query, k, where)
        began, asked = time.monotonic(), self.expander.begin(query)
        plain = search(query, depth, where)
        variants = self.expander.wait(asked, since=began)
        if not variants.texts:
            return _plain(plain, k, variants.reason)
        searches = _searches(search, variants, depth, where)
        try:
            found = run_arms(searches, on_error=self.on_error, threads=search_threads())
        except ArmError as error:
            if self.on_error == "raise":
                raise
            return _plain(plain, k, str(error))
        return self._fused(plain, found, k)

    async def arun(self, query: str, k: int, where: Mapping[str, Any] | None = None) -> HybridResult:
        if self.expander is None:
            return await super().arun(query, k, where)
        search, depth = super().arun, self._checked(query, k, where)
        began, asked = time.monotonic(), self.expander.begin(query)
        plain = await search(query, depth, where)
        variants = await self.expander.await_(asked, since=began)
        if not variants.texts:
            return _plain(plain, k, variants.reason)
        try:
            found = await arun_arms(_searches(search, variants, depth, where), on_error=self.on_error)
        except ArmError as error:
            if self.on_error == "raise":
                raise
            return _plain(plain, k, str(error))
        return self._fused(plain, found, k)

    def _checked(self, query: str, k: int, where: Mapping[str, Any] | None) -> int:
        """How many to ask for. What cannot be searched is refused before the model is asked."""
        check_query(query)
        parse_filter(where)
        return max(check_count("k", k), self.candidates)

    def _fused(self, plain: HybridResult, variants: ArmResults[HybridResult], k: int) -> HybridResult:
        results = {_QUERY: plain, **variants.found}
        arms = [Arm(name, [(hit.document.id, hit.fused.score) for hit in it.hits]) for name, it in results.items()]
        weights = dict.fromkeys(variants.found, self.variant_weight)
        method = "relative" if self.fusion is None else self.fusion
        by_query = {hit.document.id: hit for hit in plain.hits}
        by_any = {hit.document.id: hit for it in results.values() for hit in it.hits}
        hits = [
            replace(by_any[hit.id], fused=_with_variants(hit, by_query.get(hit.id)))
            for hit in fuse(arms, method=method, weights=weights, rrf_k=self.rrf_k, limit=k)
        ]
        return HybridResult(hits, {**plain.skipped, **variants.skipped, **_skipped_within(variants.found)})


def _plain(result: HybridResult, k: int, reason: str) -> HybridResult:
    return HybridResult(result.hits[:k], {**result.skipped, EXPANSION: reason})


def _searches(
    search: Callable[[str, int, Mapping[str, Any] | None], T],
    variants: QueryVariants,
    depth: int,
    where: Mapping[str, Any] | None,
) -> dict[str, Callable[[], T]]:
    """By name, the search for each variant. No time limit but that of its own arms."""
    return {f"variant {number}": partial(search, text, depth, where) for number, text in enumerate(variants.texts, 1)}


def _skipped_within(variants: Mapping[str, HybridResult]) -> dict[str, str]:
    return {f"{name} {arm}": why for name, found in variants.items() for arm, why in found.skipped.items()}


def _with_variants(hit: FusedHit, of_query: HybridHit | None) -> FusedHit:
    own: dict[str, ArmHit] = {} if of_query is None else dict(of_query.fused.arms)
    return replace(hit, arms={**own, **{name: place for name, place in hit.arms.items() if name != _QUERY}})
