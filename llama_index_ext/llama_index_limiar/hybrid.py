"""`HybridRetriever`: two or more LlamaIndex retrievers asked together and fused."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from inspect import unwrap
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.schema import IndexNode, NodeWithScore, QueryBundle

from limiar.errors import InputTypeError
from limiar.retrieval.arms import OnArmError, in_arm_thread
from limiar.retrieval.checks import check_count
from limiar.retrieval.ensemble import Candidate, Ensemble, EnsembleResult, FusedItem, named_arms, native_score
from limiar.retrieval.fusion import DEFAULT_RRF_K, FusionMethod
from limiar.retrieval.provenance import fusion_marks, without_fusion_marks
from llama_index_limiar.nodes import marked_copy

dispatcher = get_dispatcher(__name__)


class HybridRetriever(BaseRetriever):
    """Asks two or more retrievers in parallel and fuses what they find. No LLM is involved.

    Nodes are the same if their `node_id` is. Those returned are copies with the same id, class, relationships and
    metadata, of the arm that ranks the node best (the first such arm). `score` is the fused score; their metadata
    gain, hidden from embedding and LLM text,

    - `fused_score`: a float, comparable within one result only;
    - `retrieval`: by arm name, `{"rank": int, "score": float | None}`, for the arms that found the node;
    - `retrieval_skipped`: by arm name, why it was left out; absent if none was.

    Args:
        retrievers: name to retriever, or a list (then named "arm1", "arm2", ...).
        similarity_top_k: at most so many nodes come back. How many each arm brings is the arm's own setting.
        weights: by arm name, or a list in the arms' order; 1 for arms not named. A node that only zero-weight arms
            found is not returned.
        fusion: "rrf" needs ranks only; "relative" and "distribution" need scores.
        rrf_k: the constant of "rrf".
        drop_zero: the arms, usually BM25, whose hits with a score of zero or below are no hits.
        timeout: seconds that each arm may take. Sync, a late arm's thread works on unnoticed until it returns, and
            holds up the end of the program for a second at most; async, a late arm is cancelled.
        on_error: "raise" `ArmError` for an arm that fails or is late, or "skip" it, marked and logged. When no arm is
            left it always raises.
        callback_manager: as for every retriever; so are `objects`, `object_map` and `verbose`.

    Examples:
        `pip install 'limiar[llama-index]'`

        ```python
        from llama_index.core.query_engine import RetrieverQueryEngine
        from llama_index_limiar import HybridRetriever, LimiarRerank

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
        retrievers: Mapping[str, BaseRetriever] | Sequence[BaseRetriever],
        *,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
        weights: Mapping[str, float] | Sequence[float] | None = None,
        fusion: FusionMethod = "rrf",
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
        self._retrievers = named_arms(retrievers)
        for name, retriever in self._retrievers.items():
            if not isinstance(retriever, BaseRetriever):
                msg = f"arm {name!r} is {type(retriever).__name__}; expected a LlamaIndex BaseRetriever"
                raise InputTypeError(msg)
        self._ensemble = Ensemble(
            list(self._retrievers),
            weights=weights,
            fusion=fusion,
            rrf_k=rrf_k,
            drop_zero=drop_zero,
            timeout=timeout,
            on_error=on_error,
        )
        super().__init__(callback_manager=callback_manager, objects=objects, object_map=object_map, verbose=verbose)

    @property
    def retrievers(self) -> dict[str, BaseRetriever]:
        """The arms by name."""
        return dict(self._retrievers)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        def asking(name: str, retriever: BaseRetriever) -> list[Candidate[NodeWithScore]]:
            return _candidates(name, retriever.retrieve(query_bundle))

        arms = {name: partial(asking, name, retriever) for name, retriever in self._retrievers.items()}
        return _translate_out(self._ensemble.run(arms, limit=self.similarity_top_k))

    @dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        async def asking(name: str, retriever: BaseRetriever) -> list[Candidate[NodeWithScore]]:
            if _is_async(retriever):
                return _candidates(name, await retriever.aretrieve(query_bundle))
            return _candidates(name, await in_arm_thread(partial(retriever.retrieve, query_bundle)))

        arms = {name: partial(asking, name, retriever) for name, retriever in self._retrievers.items()}
        return _translate_out(await self._ensemble.arun(arms, limit=self.similarity_top_k))


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
