"""`hybrid_rerank`: first stages, fusion and reranking in one call."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.retrievers import RetrieverLike
from langchain_core.runnables import Runnable, RunnableParallel, RunnablePassthrough

from langchain_limiar.hybrid import HybridRetriever
from langchain_limiar.rerank import LimiarRerank


def hybrid_rerank(
    retrievers: Mapping[str, RetrieverLike] | Sequence[RetrieverLike],
    reranker: LimiarRerank | None = None,
    *,
    k: int = 500,
    **hybrid: Any,
) -> Runnable[str, list[Document]]:
    """Ask the first stages, fuse, rerank the best `k` and keep what is relevant.

    Args:
        retrievers: as for `HybridRetriever`. Set each to bring about `k` documents itself.
        reranker: None for `LimiarRerank()`: the best 3 with a score of at least 0.45, by the bundled scorer.
        k: how many fused documents are reranked.
        **hybrid: the other fields of `HybridRetriever`: weights, fusion, timeout, on_error, ...

    Returns:
        A runnable from the query to the relevant documents, usable wherever a retriever is (it is a `RetrieverLike`).

    Example:
        ```python
        from langchain_limiar import hybrid_rerank

        retriever = hybrid_rerank({"bm25": bm25, "dense": dense}, timeout=2.0, on_error="skip")
        retriever.invoke("dispensa de licitação por valor")
        ```
    """
    first_stage = HybridRetriever(retrievers=retrievers, k=k, **hybrid)  # type: ignore[arg-type]
    reranker = LimiarRerank() if reranker is None else reranker
    candidates: RunnableParallel[str] = RunnableParallel(query=RunnablePassthrough(), documents=first_stage)
    return (candidates | reranker.as_runnable()).with_config(run_name="hybrid_rerank")
