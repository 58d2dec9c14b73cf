"""Exact Okapi BM25 in memory: the reference that the index on disk is compared with."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from limiar.errors import InputTypeError, MissingExtraError
from limiar.retrieval.checks import check_count, check_weights
from limiar.retrieval.documents import Hit, IndexDocument, check_documents, check_ids, checked_fields
from limiar.retrieval.filters import Filter, matches, parse_filter
from limiar.text.analyzer import Analyzer

if TYPE_CHECKING:
    from rank_bm25 import BM25Okapi


@dataclass(frozen=True)
class _Entry:
    terms: Mapping[str, list[str]]
    filters: frozenset[bytes]


@dataclass(frozen=True)
class _Built:
    """The documents as searches see them; `models` has no entry for a field without a single term."""

    ids: Sequence[str]
    entries: Sequence[_Entry]
    models: Mapping[str, BM25Okapi]


class OkapiBM25:
    """`rank_bm25.BM25Okapi` over analysed tokens, with the interface of `BM25Index` and nothing on disk.

    Scores are rank_bm25's, summed over fields by weight. They can be zero or negative for terms in most documents; a
    document is a hit if it holds a term of the query, whatever its score. Every change rebuilds the model at the next
    search: for small collections and comparisons.

    Args:
        fields: the names of the text fields, or name to weight (1 by default).
        analyzer: for documents and queries; Portuguese by default.
        k1: term frequency saturation.
        b: length normalisation.
        epsilon: rank_bm25's floor for negative inverse document frequencies.

    Raises:
        ConfigurationError: there is no field, or a weight is no finite number >= 0.
        MissingExtraError: rank-bm25 is not installed.
    """

    def __init__(
        self,
        *,
        fields: Mapping[str, float] | Sequence[str] = ("text",),
        analyzer: Analyzer | None = None,
        k1: float = 1.5,
        b: float = 0.75,
        epsilon: float = 0.25,
    ) -> None:
        try:
            from rank_bm25 import BM25Okapi
        except ImportError as error:
            feature = "exact Okapi BM25"
            raise MissingExtraError(feature, "rank-bm25") from error
        self._model = BM25Okapi
        self._parameters = {"k1": k1, "b": b, "epsilon": epsilon}
        self._analyzer = analyzer or Analyzer()
        self._fields = checked_fields(fields)
        self._entries: dict[str, _Entry] = {}
        self._built: _Built | None = None
        self._lock = threading.Lock()

    @property
    def analyzer(self) -> Analyzer:
        """What turns documents and queries into terms."""
        return self._analyzer

    def add(self, documents: Iterable[IndexDocument]) -> int:
        """Add documents, and replace those whose id is there; all or, if this raises, none. The last of two wins."""
        new: dict[str, _Entry] = {}
        count = 0
        for document in check_documents(documents, self._fields):
            new.pop(document.id, None)
            terms = {name: self._analyzer(document.fields.get(name, "")) for name in self._fields}
            new[document.id] = _Entry(terms, document.terms)
            count += 1
        with self._lock:
            kept = {identity: entry for identity, entry in self._entries.items() if identity not in new}
            self._entries, self._built = kept | new, None
        return count

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents by id, passing over those that are not there; how many were."""
        gone = set(check_ids(ids))
        with self._lock:
            kept = {identity: entry for identity, entry in self._entries.items() if identity not in gone}
            count = len(self._entries) - len(kept)
            self._entries, self._built = kept, None
        return count

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        weights: Mapping[str, float] | None = None,
    ) -> list[Hit]:
        """The best documents that hold at least one term of the query; see `BM25Index.search`."""
        if not isinstance(query, str):
            msg = f"the query is {type(query).__name__}; expected a string"
            raise InputTypeError(msg)
        check_count("k", k)
        condition = parse_filter(filter)
        used = {
            name: weight
            for name, weight in check_weights("field", weights, self._fields, self._fields).items()
            if weight
        }
        built = self._build()
        terms = self._analyzer(query)
        scores = np.zeros(len(built.ids))
        for name, weight in used.items():
            if name in built.models:
                scores += weight * _scores(built.models[name], terms)
        wanted = frozenset(terms)
        found = [position for position, entry in enumerate(built.entries) if _is_hit(entry, wanted, used, condition)]
        found.sort(key=lambda position: -scores[position])
        return [Hit(built.ids[position], float(scores[position])) for position in found[:k]]

    def ids(self) -> list[str]:
        """Every id, in the order in which the documents were added."""
        return list(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, identity: object) -> bool:
        return identity in self._entries

    def _build(self) -> _Built:
        with self._lock:
            if self._built is None:
                entries = list(self._entries.values())
                models = {
                    name: self._model([entry.terms[name] for entry in entries], **self._parameters)
                    for name in self._fields
                    if any(entry.terms[name] for entry in entries)
                }
                self._built = _Built(list(self._entries), entries, models)
            return self._built


def _scores(model: BM25Okapi, terms: list[str]) -> npt.NDArray[np.float64]:
    scores: npt.NDArray[np.float64] = model.get_scores(terms)
    return scores


def _is_hit(entry: _Entry, wanted: frozenset[str], fields: Iterable[str], condition: Filter | None) -> bool:
    holds_a_term = any(not wanted.isdisjoint(entry.terms[name]) for name in fields)
    return holds_a_term and (condition is None or matches(condition, entry.filters))
