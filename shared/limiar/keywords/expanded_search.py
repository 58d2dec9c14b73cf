"""A search by a query and its other wordings, fused."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from limiar.errors import ArmError, ConfigurationError
from limiar.inputs import check_query
from limiar.keywords.query_expansion import QueryExpander
from limiar.retrieval.arms import in_arm_thread, run_arms
from limiar.retrieval.checks import check_count
from limiar.retrieval.filters import parse_filter
from limiar.retrieval.fusion import Arm, ArmHit, FusedHit, fuse
from limiar.retrieval.index_options import IndexSearch
from limiar.retrieval.index_results import HybridHit, HybridResult

DEFAULT_VARIANT_WEIGHT = 0.3
_QUERY = "query"
EXPANSION = "query expansion"


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
        search = super().run
        check_query(query)
        depth = max(check_count("k", k), self.candidates)
        parse_filter(where)
        began, asked = time.monotonic(), self.expander.begin(query)
        plain = search(query, depth, where)
        variants = self.expander.wait(asked, since=began)
        if not variants.texts:
            return HybridResult(plain.hits[:k], {**plain.skipped, EXPANSION: variants.reason})
        searches = {
            f"variant {number}": partial(search, text, depth, where) for number, text in enumerate(variants.texts, 1)
        }
        try:
            found = run_arms(searches, on_error=self.on_error)  # each search keeps to the timeout itself
        except ArmError as error:
            if self.on_error == "raise":
                raise
            return HybridResult(plain.hits[:k], {**plain.skipped, EXPANSION: str(error)})
        skipped = {**plain.skipped, **found.skipped, **_skipped_within(found.found)}
        return HybridResult(self._fused(plain, found.found, k), skipped)

    async def arun(self, query: str, k: int, where: Mapping[str, Any] | None = None) -> HybridResult:
        return await in_arm_thread(partial(self.run, query, k, where))

    def _fused(self, plain: HybridResult, variants: Mapping[str, HybridResult], k: int) -> list[HybridHit]:
        results = {_QUERY: plain, **variants}
        arms = [Arm(name, [(hit.document.id, hit.fused.score) for hit in it.hits]) for name, it in results.items()]
        weights = dict.fromkeys(variants, self.variant_weight)
        method = "relative" if self.fusion is None else self.fusion
        by_query = {hit.document.id: hit for hit in plain.hits}
        by_any = {hit.document.id: hit for it in results.values() for hit in it.hits}
        return [
            replace(by_any[hit.id], fused=_with_variants(hit, by_query.get(hit.id)))
            for hit in fuse(arms, method=method, weights=weights, rrf_k=self.rrf_k, limit=k)
        ]


def _skipped_within(variants: Mapping[str, HybridResult]) -> dict[str, str]:
    return {f"{name} {arm}": why for name, found in variants.items() for arm, why in found.skipped.items()}


def _with_variants(hit: FusedHit, of_query: HybridHit | None) -> FusedHit:
    own: dict[str, ArmHit] = {} if of_query is None else dict(of_query.fused.arms)
    return replace(hit, arms={**own, **{name: place for name, place in hit.arms.items() if name != _QUERY}})
