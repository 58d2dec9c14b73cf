"""`hybrid_rerank`: first stages, fusion and reranking in one call."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores import MetadataFilters

from limiar.errors import ConfigurationError
from limiar.retrieval.hybrid_index import HybridIndex
from llama_index_limiar.hybrid import HybridRetriever
from llama_index_limiar.postprocessor import LimiarRerank

dispatcher = get_dispatcher(__name__)


class RerankedRetriever(BaseRetriever):
    """A retriever whose nodes are reranked: for everything that takes a retriever and no postprocessors.

    Args:
        retriever: the first stage.
        reranker: None for `LimiarRerank()`.
        callback_manager: as for every retriever.
    """

    def __init__(
        self,
        retriever: BaseRetriever,
        reranker: LimiarRerank | None = None,
        *,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        self.retriever = retriever
        self.reranker = LimiarRerank() if reranker is None else reranker
        super().__init__(callback_manager=callback_manager)

    def with_options(
        self,
        *,
        similarity_top_k: int | None = None,
        filter: Mapping[str, Any] | MetadataFilters | None = None,  # noqa: A002
    ) -> "RerankedRetriever":
        """A copy whose first stage has another number or filter; see `HybridRetriever.with_options`.

        Raises:
            ConfigurationError: the first stage is no `HybridRetriever`, or as there.
        """
        if not isinstance(self.retriever, HybridRetriever):
            msg = f"the first stage is {type(self.retriever).__name__}; only a HybridRetriever has options"
            raise ConfigurationError(msg)
        chosen = copy.copy(self)
        chosen.retriever = self.retriever.with_options(similarity_top_k=similarity_top_k, filter=filter)
        return chosen

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        nodes = self.retriever.retrieve(query_bundle)
        return self.reranker.postprocess_nodes(nodes, query_bundle=query_bundle)

    @dispatcher.span
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        nodes = await self.retriever.aretrieve(query_bundle)
        return await self.reranker.apostprocess_nodes(nodes, query_bundle=query_bundle)


def hybrid_rerank(
    source: HybridRetriever | HybridIndex | Mapping[str, BaseRetriever] | Sequence[BaseRetriever],
    reranker: LimiarRerank | None = None,
    *,
    similarity_top_k: int = 500,
    **hybrid: Any,
) -> RerankedRetriever:
    """Ask the first stages, fuse, rerank the best `similarity_top_k` and keep what is relevant.

    Args:
        source: a `HybridIndex`, or retrievers as for `HybridRetriever`: set each to bring about `similarity_top_k`
            nodes itself. Or a `HybridRetriever` with settings of its own, such as a `KeywordExpansionRetriever`: only
            its `similarity_top_k` is replaced.
        reranker: None for `LimiarRerank()`: the best 3 with a score of at least 0.45, by the bundled scorer.
        similarity_top_k: how many fused nodes are reranked.
        **hybrid: the other arguments of `HybridRetriever`: filter, weights, fusion, timeout, on_error, ...;
            none if `source` is one already.

    Raises:
        ConfigurationError: a value is out of its range, or given for a `source` that has settings of its own.

    Returns:
        A retriever, for a query engine, a chat engine or a tool. `with_options` gives a copy with another filter.

    Example:
        ```python
        from llama_index.core.query_engine import RetrieverQueryEngine
        from limiar import HybridIndex
        from llama_index_limiar import hybrid_rerank

        retriever = hybrid_rerank(HybridIndex.open("my_index"), timeout=2.0, on_error="skip")
        query_engine = RetrieverQueryEngine.from_args(retriever)
        ```
    """
    first_stage = _first_stage(source, similarity_top_k, hybrid)
    return RerankedRetriever(first_stage, reranker, callback_manager=first_stage.callback_manager)


def _first_stage(source: Any, similarity_top_k: int, options: dict[str, Any]) -> HybridRetriever:
    if isinstance(source, HybridRetriever):
        if options:
            msg = f"{next(iter(options))} is given for a {type(source).__name__}, which has its own; set it there"
            raise ConfigurationError(msg)
        return source.with_options(similarity_top_k=similarity_top_k)
    given: dict[str, Any] = {"index" if isinstance(source, HybridIndex) else "retrievers": source}
    return HybridRetriever(**given, similarity_top_k=similarity_top_k, **options)
