"""`hybrid_rerank`: first stages, fusion and reranking in one call."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.retrievers import RetrieverLike
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from langchain_limiar.hybrid import HybridRetriever
from langchain_limiar.rerank import LimiarRerank
from limiar.errors import ConfigurationError
from limiar.retrieval.hybrid_index import HybridIndex


def hybrid_rerank(
    source: HybridRetriever | HybridIndex | Mapping[str, RetrieverLike] | Sequence[RetrieverLike],
    reranker: LimiarRerank | None = None,
    *,
    k: int = 500,
    **hybrid: Any,
) -> Runnable[str, list[Document]]:
    """Ask the first stages, fuse, rerank the best `k` and keep what is relevant.

    Args:
        source: a `HybridIndex`, or retrievers as for `HybridRetriever`: set each to bring about `k` documents itself.
            Or a `HybridRetriever` with settings of its own, such as a `KeywordExpansionRetriever`: only its `k` is
            replaced.
        reranker: None for `LimiarRerank()`: the best 3 with a score of at least 0.45, by the bundled scorer.
        k: how many fused documents are reranked.
        **hybrid: the other fields of `HybridRetriever`: filter, weights, fusion, timeout, on_error, ...;
            none if `source` is one already.

    Raises:
        ConfigurationError: a value is out of its range, or given for a `source` that has settings of its own.

    Returns:
        A runnable from the query to the relevant documents, usable wherever a retriever is (it is a `RetrieverLike`).
        `invoke(query, k=..., filter=...)` replaces the two for one call.

    Example:
        ```python
        from langchain_limiar import hybrid_rerank
        from limiar import HybridIndex

        retriever = hybrid_rerank(HybridIndex.open("my_index"), timeout=2.0, on_error="skip")
        retriever.invoke("dispensa de licitação por valor", filter={"year": {"$gte": 2021}})
        ```
    """
    first_stage = _first_stage(source, k, hybrid)
    reranker = LimiarRerank() if reranker is None else reranker

    def candidates(query: str, config: RunnableConfig, **options: Any) -> dict[str, Any]:
        return {"query": query, "documents": first_stage.invoke(query, config, **options)}

    async def acandidates(query: str, config: RunnableConfig, **options: Any) -> dict[str, Any]:
        return {"query": query, "documents": await first_stage.ainvoke(query, config, **options)}

    step: RunnableLambda[str, dict[str, Any]] = RunnableLambda(candidates, acandidates, name="hybrid_candidates")
    return (step | reranker.as_runnable()).with_config(run_name="hybrid_rerank")


def _first_stage(source: Any, k: int, options: dict[str, Any]) -> HybridRetriever:
    if not isinstance(source, HybridRetriever):
        return HybridRetriever(**{"index" if isinstance(source, HybridIndex) else "retrievers": source}, k=k, **options)
    if options:
        msg = f"{next(iter(options))} is given for a {type(source).__name__}, which has its own; set it there"
        raise ConfigurationError(msg)
    chosen = source.model_copy()
    chosen.k = k
    return chosen
