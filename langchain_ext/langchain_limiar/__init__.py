"""limiar for LangChain: keep the documents that are relevant, with calibrated scores, by a threshold.

`LimiarRerank` is a document compressor, `LimiarEmbeddings` limiar's encoders as an embedding model,
`HybridRetriever` searches a `limiar.HybridIndex`, or asks several retrievers and fuses what they find, `hybrid_rerank`
does all of it in one call. `HybridDocumentIndex` writes a `HybridIndex` through LangChain.
"""

from limiar.errors import MissingExtraError

try:
    from langchain_limiar.chat import LangChainChat
    from langchain_limiar.document_index import HybridDocumentIndex
    from langchain_limiar.embeddings import LimiarEmbeddings
    from langchain_limiar.hybrid import HybridRetriever
    from langchain_limiar.keyword_expansion import KeywordExpander, KeywordExpansionRetriever
    from langchain_limiar.pipeline import hybrid_rerank
    from langchain_limiar.rerank import LimiarRerank
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "langchain_core":
        raise
    raise MissingExtraError("langchain_limiar", "langchain") from error  # noqa: EM101

__all__ = [
    "HybridDocumentIndex",
    "HybridRetriever",
    "KeywordExpander",
    "KeywordExpansionRetriever",
    "LangChainChat",
    "LimiarEmbeddings",
    "LimiarRerank",
    "hybrid_rerank",
]
