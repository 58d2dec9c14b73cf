"""How a framework's retriever searches a `HybridIndex`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limiar.errors import ConfigurationError
from limiar.retrieval.arms import OnArmError
from limiar.retrieval.checks import check_count
from limiar.retrieval.ensemble import Ensemble
from limiar.retrieval.filters import parse_filter
from limiar.retrieval.fusion import DEFAULT_RRF_K, FusionMethod
from limiar.retrieval.hybrid_index import DEFAULT_CANDIDATES, HybridIndex
from limiar.retrieval.index_results import HybridResult

_INDEX_ONLY: dict[str, object] = {
    "filter": None,
    "index_on": None,
    "candidates": DEFAULT_CANDIDATES,
    "field_weights": None,
}
_RETRIEVERS_ONLY: dict[str, object] = {"drop_zero": [], "id_key": None, "score_key": None}


@dataclass(frozen=True)
class IndexSearch:
    """The settings of searches in one index, checked; see `HybridIndex.search`.

    Args:
        index: where to search.
        filter: for every search that has none of its own.
        index_on: the view to search, or by arm.
        candidates: how many each arm brings.
        weights: by arm name, or one for each arm in order.
        field_weights: by BM25 field.
        fusion: "rrf", "relative" or "distribution"; None for the default of an index.
        rrf_k: the constant of "rrf".
        timeout: seconds for each arm; None for no limit.
        on_error: "raise" or "skip" for an arm that fails or is late.

    Raises:
        ConfigurationError: `index` is none, or a value is out of its range.
        InputError: the filter cannot be used.
    """

    index: HybridIndex
    filter: Mapping[str, Any] | None = None
    index_on: str | Mapping[str, str] | None = None
    candidates: int = DEFAULT_CANDIDATES
    weights: Mapping[str, float] | Sequence[float] | None = None
    field_weights: Mapping[str, float] | None = None
    fusion: FusionMethod | None = None
    rrf_k: int = DEFAULT_RRF_K
    timeout: float | None = None
    on_error: OnArmError = "raise"

    def __post_init__(self) -> None:
        if not isinstance(self.index, HybridIndex):
            msg = f"index is {type(self.index).__name__}; expected a limiar.HybridIndex"
            raise ConfigurationError(msg)
        parse_filter(self.filter)
        check_count("candidates", self.candidates)
        schema = self.index.schema
        schema.bm25_weights(schema.chosen_views(self.index_on)["bm25"], self.field_weights)
        self._weights()

    def run(self, query: str, k: int, where: Mapping[str, Any] | None = None) -> HybridResult:
        """Search once.

        Args:
            query: text to look for.
            k: at most so many documents.
            where: the filter of this search, in place of `filter`; None for `filter`, {} for none.
        """
        return self.index.search(query, k, **self._options(where))

    async def arun(self, query: str, k: int, where: Mapping[str, Any] | None = None) -> HybridResult:
        """`run` off the event loop."""
        return await self.index.asearch(query, k, **self._options(where))

    def _options(self, where: Mapping[str, Any] | None) -> dict[str, Any]:
        return {
            **self._fusion_options(),
            "filter": self.filter if where is None else where,
            "index_on": self.index_on,
            "candidates": self.candidates,
            "weights": self._weights(),
            "field_weights": self.field_weights,
        }

    def _fusion_options(self) -> dict[str, Any]:
        given: dict[str, Any] = {} if self.fusion is None else {"fusion": self.fusion}
        return {**given, "rrf_k": self.rrf_k, "timeout": self.timeout, "on_error": self.on_error}

    def _weights(self) -> dict[str, float]:
        """By arm name; checks the options of fusion, too."""
        return Ensemble(self.index.arms, weights=self.weights, **self._fusion_options()).weights


def check_source(index: object, retrievers: object, options: Mapping[str, object]) -> None:
    """Raise `ConfigurationError` unless a hybrid retriever has an index or retrievers, and options that fit.

    Args:
        index: None or an index.
        retrievers: None or retrievers.
        options: of the options that fit only one of the two, those that the framework has, by name.
    """
    if (index is None) == (retrievers is None):
        given = "neither" if index is None else "both"
        msg = f"expected an index or retrievers, exactly one of them; {given} is given"
        raise ConfigurationError(msg)
    unfit = _RETRIEVERS_ONLY if retrievers is None else _INDEX_ONLY
    wrong = [name for name, default in unfit.items() if options.get(name, default) not in (default, None)]
    if wrong:
        fits, given = ("retrievers", "an index") if retrievers is None else ("an index", "retrievers")
        msg = f"{wrong[0]} is an option for {fits}, not for {given}"
        raise ConfigurationError(msg)
