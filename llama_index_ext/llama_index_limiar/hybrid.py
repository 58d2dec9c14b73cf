"""`HybridRetriever`: a `HybridIndex`, or two or more LlamaIndex retrievers, asked together and fused."""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import unwrap
from typing import TYPE_CHECKING, Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.schema import IndexNode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores import MetadataFilters

from limiar.errors import InputTypeError
from limiar.retrieval.arms import OnArmError, in_arm_thread
from limiar.retrieval.checks import check_count
from limiar.retrieval.ensemble import Candidate, Ensemble, EnsembleResult, FusedItem, named_arms, native_score
from limiar.retrieval.fusion import DEFAULT_RRF_K, FusionMethod
from limiar.retrieval.hybrid_index import DEFAULT_CANDIDATES, HybridIndex
from limiar.retrieval.index_options import IndexSearch, check_source
from limiar.retrieval.provenance import fusion_marks, without_fusion_marks
from llama_index_limiar.filters import filter_mapping
from llama_index_limiar.index_nodes import found_nodes
from llama_index_limiar.nodes import marked_copy

if TYPE_CHECKING:
    from typing_extensions import Self

dispatcher = get_dispatcher(__name__)


class HybridRetriever(BaseRetriever):
    """Asks a `limiar.HybridIndex`, or two or more retrievers, in parallel and fuses what they find. No LLM is involved.

    Nodes are the same if their `node_id` is. Those returned are copies with the same id, class, relationships and
    metadata, of the arm that ranks the node best (the first such arm). `score` is the fused score; their metadata
    gain, hidden from embedding and LLM text,

    - `fused_score`: a float, comparable within one result only;
    - `retrieval`: by arm name, `{"rank": int, "score": float | None}`, for the arms that found the node;
    - `retrieval_skipped`: by arm name, why it was left out; absent if none was.

    From an index come the nodes that `add_nodes` wrote, as they were, and a `TextNode` for what was written otherwise:
    fields of it other than "text" are in its metadata under their names, where the document has none of that name. Of
    a `QueryBundle` an index reads `query_str` only: it embeds with its own encoder.

    Args:
        retrievers: name to retriever, or a list (then named "arm1", "arm2", ...); or else
        index: a `limiar.HybridIndex`, whose arms are "bm25" and "dense".
        similarity_top_k: at most so many nodes come back. How many each arm brings is a retriever's own setting, and
            `candidates` in an index.
        filter: only documents of the index whose metadata pass, as in `{"year": {"$gte": 2020}}` (see
            `limiar.retrieval.filters`) or as `MetadataFilters`.
        index_on: the view of the index to search, "text", "keywords" or "both", for both arms or by arm name; None for
            the richest that it has.
        candidates: how many each arm of the index brings; at least `similarity_top_k`.
        weights: by arm name, or a list in the arms' order; 1 for arms not named. A node that only zero-weight arms
            found is not returned.
        field_weights: BM25 field of the index to weight.
        fusion: "rrf" needs ranks only; "relative" and "distribution" need scores. None for "relative" over an index and
            "rrf" over retrievers.
        rrf_k: the constant of "rrf".
        drop_zero: the retrievers, usually BM25, whose hits with a score of zero or below are no hits.
        timeout: seconds that each arm may take. Sync, and in an index, a late arm's thread works on unnoticed until it
            returns, and holds up the end of the program for a second at most; async, a late retriever is cancelled.
        on_error: "raise" `ArmError` for an arm that fails or is late, or "skip" it, marked and logged. When no arm is
            left it always raises.
        callback_manager: as for every retriever; so are `objects`, `object_map` and `verbose`.

    Examples:
        `pip install 'limiar[llama-index]'`

        ```python
        from llama_index.core.query_engine import RetrieverQueryEngine
        from limiar import HybridIndex
        from llama_index_limiar import HybridRetriever, LimiarRerank

        retriever = HybridRetriever(index=HybridIndex.open("my_index"), similarity_top_k=100)
        recent = retriever.with_options(similarity_top_k=10, filter={"year": {"$gte": 2021}})
        retriever = HybridRetriever(
            {"bm25": bm25, "dense": index.as_retriever(similarity_top_k=100)},
            similarity_top_k=100,
            drop_zero=["bm25"],
        )
        query_engine = RetrieverQueryEngine.from_args(retriever, node_postprocessors=[LimiarRerank()])
        ```
    """

    def __init__(
        self,
        retrievers: Mapping[str, BaseRetriever] | Sequence[BaseRetriever] | None = None,
        *,
        index: HybridIndex | None = None,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
        filter: Mapping[str, Any] | MetadataFilters | None = None,  # noqa: A002
        index_on: str | Mapping[str, str] | None = None,
        candidates: int = DEFAULT_CANDIDATES,
        weights: Mapping[str, float] | Sequence[float] | None = None,
        field_weights: Mapping[str, float] | None = None,
        fusion: FusionMethod | None = None,
        rrf_k: int = DEFAULT_RRF_K,
        drop_zero: Collection[str] = (),
        timeout: float | None = None,
        on_error: OnArmError = "raise",
        callback_manager: CallbackManager | None = None,
        objects: list[IndexNode] | None = None,
        object_map: dict[str, Any] | None = None,
        verbose: bool = False,
    ) -> None:
        self.similarity_top_k = check_count("similarity_top_k", similarity_top_k)
        options: dict[str, Any] = {
            "filter": filter, "index_on": index_on, "candidates": candidates, "field_weights": field_weights
        }  # fmt: skip
        check_source(index, retrievers, {**options, "drop_zero": drop_zero or None})
        shared: dict[str, Any] = {
            "weights": weights, "fusion": fusion, "rrf_k": rrf_k, "timeout": timeout, "on_error": on_error
        }  # fmt: skip
        self._search: IndexSearch | None = None
        self._retrievers: dict[str, BaseRetriever] = {}
        if index is not None:
            self._search = self._index_search(index, {**options, "filter": filter_mapping(filter), **shared})
        else:
            self._retrievers = _checked(retrievers)
            shared["fusion"] = "rrf" if fusion is None else fusion
            self._ensemble = Ensemble(list(self._retrievers), drop_zero=drop_zero, **shared)
        super().__init__(callback_manager=callback_manager, objects=objects, object_map=object_map, verbose=verbose)

    def _index_search(self, index: HybridIndex, options: dict[str, Any]) -> IndexSearch:
        return IndexSearch(index, **options)

    @property
    def retrievers(self) -> dict[str, BaseRetriever]:
        """The arms by name; none over an index."""
        return dict(self._retrievers)

    @property
    def index(self) -> HybridIndex | None:
        """The index, if it is over one."""
        return None if self._search is None else self._search.index

    def with_options(
        self,
        *,
        similarity_top_k: int | None = None,
        filter: Mapping[str, Any] | MetadataFilters | None = None,  # noqa: A002
    ) -> "Self":
        """A copy with another number or filter, made in no time: for one query, if need be.

        Args:
            similarity_top_k: None for the present one.
            filter: in place of the present one; None for the present one, {} for none.

        Raises:
            ConfigurationError: a value is out of its range, or there is no index to filter.
            InputError: the filter cannot be used.
        """
        chosen = copy.copy(self)
        if similarity_top_k is not None:
            chosen.similarity_top_k = check_count("similarity_top_k", similarity_top_k)
        if filter is not None:
            check_source(self.index, self._retrievers or None, {"filter": filter})
            chosen._search = replace(self._search, filter=filter_mapping(filter))  # type: ignore[type-var]  # noqa: SLF001
        return chosen

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if self._search is not None:
            return found_nodes(self._search.run(query_bundle.query_str, self.similarity_top_k))

        def asking(name: str, retriever: BaseRetriever) -> list[Candidate[NodeWithScore]]:
            return _candidates(name, retriever.retrieve(query_bundle))

        arms = {name: partial(asking, name, retriever) for name, retriever in self._retrievers.items()}
        return _translate_out(self._ensemble.run(arms, limit=self.similarity_top_k))

    @dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if self._search is not None:
            return found_nodes(await self._search.arun(query_bundle.query_str, self.similarity_top_k))

        async def asking(name: str, retriever: BaseRetriever) -> list[Candidate[NodeWithScore]]:
            if _is_async(retriever):
                return _candidates(name, await retriever.aretrieve(query_bundle))
            return _candidates(name, await in_arm_thread(partial(retriever.retrieve, query_bundle)))

        arms = {name: partial(asking, name, retriever) for name, retriever in self._retrievers.items()}
        return _translate_out(await self._ensemble.arun(arms, limit=self.similarity_top_k))


def _checked(retrievers: Mapping[str, BaseRetriever] | Sequence[BaseRetriever] | None) -> dict[str, BaseRetriever]:
    arms = named_arms(retrievers or {})
    for name, retriever in arms.items():
        if not isinstance(retriever, BaseRetriever):
            msg = f"arm {name!r} is {type(retriever).__name__}; expected a LlamaIndex BaseRetriever"
            raise InputTypeError(msg)
    return arms


def _is_async(retriever: BaseRetriever) -> bool:
    """Whether it has an async path of its own: LlamaIndex's default one blocks the event loop."""
    names = ("aretrieve", "_aretrieve")
    return any(unwrap(getattr(type(retriever), name)) is not unwrap(getattr(BaseRetriever, name)) for name in names)


def _candidates(arm: str, nodes: object) -> list[Candidate[NodeWithScore]]:
    if not isinstance(nodes, list | tuple):
        msg = f"arm {arm!r} returned {type(nodes).__name__}; expected a list of NodeWithScore"
        raise InputTypeError(msg)
    return [_candidate(arm, item) for item in nodes]


def _candidate(arm: str, item: object) -> Candidate[NodeWithScore]:
    if not isinstance(item, NodeWithScore):
        msg = f"arm {arm!r} returned a {type(item).__name__}; expected a NodeWithScore"
        raise InputTypeError(msg)
    return Candidate(item.node.node_id, native_score(item.score), item)


def _translate_out(result: EnsembleResult[NodeWithScore]) -> list[NodeWithScore]:
    return [_marked(fused, result.skipped) for fused in result.items]


def _marked(fused: FusedItem[NodeWithScore], skipped: Mapping[str, str]) -> NodeWithScore:
    """A copy that says how it was found; the marks of an earlier fusion are replaced."""
    node = fused.item.node
    copy = marked_copy(node, without_fusion_marks(node.metadata), fusion_marks(fused.hit, skipped))
    return fused.item.model_copy(update={"node": copy, "score": fused.hit.score})
