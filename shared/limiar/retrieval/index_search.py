"""The one search path of a `HybridIndex`."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from limiar.errors import StoreDamagedError
from limiar.inputs import check_query, encodable
from limiar.retrieval.arms import ArmResults, OnArmError, run_arms
from limiar.retrieval.checks import check_count, check_weights
from limiar.retrieval.document_store import DocumentStore
from limiar.retrieval.ensemble import Ensemble
from limiar.retrieval.filters import parse_filter
from limiar.retrieval.fusion import FusedHit, FusionMethod
from limiar.retrieval.index_arms import Bm25Arm, DenseArm
from limiar.retrieval.index_results import HybridHit, HybridResult
from limiar.retrieval.index_schema import ARMS, IndexSchema
from limiar.retrieval.index_vectors import TextVectors

if TYPE_CHECKING:
    from limiar.embeddings.protocol import FloatArray

_ATTEMPTS = 10
_PAUSE = 0.005

Pairs: TypeAlias = Sequence[tuple[str, float | None]]


class IndexSearcher:
    """Asks the arms, fuses what they find, and reads the documents. Threads may share it.

    Args:
        store: the documents.
        schema: what the arms see of them.
        bm25: the lexical arm.
        dense: the dense arm.
        vectors: makes the vector of a query.
        follow: look before each search whether another process has written.
    """

    def __init__(
        self,
        store: DocumentStore,
        schema: IndexSchema,
        bm25: Bm25Arm,
        dense: DenseArm,
        vectors: TextVectors,
        *,
        follow: bool,
    ) -> None:
        self._store = store
        self._schema = schema
        self._bm25 = bm25
        self._dense = dense
        self._vectors = vectors
        self._follow = follow
        self._reopening = threading.Lock()
        self._seen = store.revision()

    def search(
        self,
        query: str,
        k: int,
        *,
        where: Mapping[str, Any] | None,
        index_on: str | Mapping[str, str] | None,
        candidates: int,
        weights: Mapping[str, float] | None,
        field_weights: Mapping[str, float] | None,
        fusion: FusionMethod,
        rrf_k: int,
        timeout: float | None,
        on_error: OnArmError,
    ) -> HybridResult:
        """See `HybridIndex.search`."""
        query = encodable(check_query(query))
        check_count("k", k)
        depth = max(k, check_count("candidates", candidates))
        parse_filter(where)
        view = self._schema.chosen_views(index_on)
        fields = self._schema.bm25_weights(view["bm25"], field_weights)
        asked = {name: weight for name, weight in check_weights("arm", weights, ARMS).items() if weight}
        ensemble = Ensemble(
            list(asked),
            weights=asked,
            fusion=fusion,
            rrf_k=rrf_k,
            drop_zero=[name for name in asked if name == self._bm25.name],
            timeout=timeout,
            on_error=on_error,
        )
        vector = functools.cache(lambda: self._vectors.of_query(query))

        def ask(depth: int) -> ArmResults[Pairs]:
            arms: dict[str, Callable[[], Pairs]] = {
                "bm25": lambda: self._bm25.search(query, depth, where, fields),
                "dense": lambda: self._nearest(view["dense"], vector, depth, where),
            }
            return run_arms({name: arms[name] for name in asked}, timeout=timeout, on_error=on_error)

        return self._answer(ask, ensemble, k, depth)

    def _answer(
        self,
        ask: Callable[[int], ArmResults[Pairs]],
        ensemble: Ensemble,
        k: int,
        depth: int,
    ) -> HybridResult:
        """What the arms find, as documents.

        They are asked again if documents changed between their answer and its reading, and asked for more if entries
        that a write has not yet cleared away took the place of documents.
        """
        more = 0
        for _ in range(_ATTEMPTS):
            revision = self._store.revision()
            found = ask(depth + more)
            hits, stale = self._documents(ensemble.fused(found, k), k)
            if stale:
                hits, stale = self._documents(ensemble.fused(found), k)
            unfinished = len(self._store.trash()) if stale else 0
            if not stale or (revision == self._store.revision() and (len(hits) == k or more >= unfinished)):
                break
            more = unfinished
        return HybridResult(hits, found.skipped)

    def _nearest(self, view: str, vector: Callable[[], FloatArray], k: int, where: Mapping[str, Any] | None) -> Pairs:
        for attempt in range(_ATTEMPTS):
            among = self._bm25.matching(where) if where else None
            if among is not None and not among:
                break
            self._see_other_writers()
            try:
                return self._dense.nearest(view, vector(), k, among)
            except StoreDamagedError:  # so Chroma calls it, too, when another process takes entries away meanwhile
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(_PAUSE * attempt)
        return []

    def _see_other_writers(self) -> None:
        if not self._follow:
            return
        with self._reopening:
            revision = self._store.revision()
            if revision != self._seen:
                self._dense.reopen()
                self._seen = revision

    def _documents(self, fused: Sequence[FusedHit], k: int) -> tuple[list[HybridHit], int]:
        """The best `k` that are documents, and how many entries of no document were passed over."""
        hits: dict[str, HybridHit] = {}
        stale = start = 0
        while len(hits) < k and start < len(fused):
            some = fused[start : start + k - len(hits)]
            documents = self._store.fetch(int(hit.id) for hit in some)
            for hit in some:
                document = documents.get(int(hit.id))
                if document is None:
                    stale += 1
                else:
                    hits.setdefault(document.id, HybridHit(document, FusedHit(document.id, hit.score, hit.arms)))
            start += len(some)
        return list(hits.values()), stale
