"""limiar for LlamaIndex: keep the nodes that are relevant, with calibrated scores, by a threshold.

`LimiarRerank` is a node postprocessor, `LimiarEmbedding` limiar's encoders as an embedding model, `HybridRetriever`
searches a `limiar.HybridIndex`, or asks several retrievers and fuses what they find, `hybrid_rerank` does all of it in
one call. `add_nodes` writes nodes into a `HybridIndex`. `LlamaIndexChat` lets an LLM write keywords for documents.
"""

from limiar.errors import MissingExtraError

try:
    from llama_index_limiar.chat import LlamaIndexChat
    from llama_index_limiar.embeddings import LimiarEmbedding
    from llama_index_limiar.hybrid import HybridRetriever
    from llama_index_limiar.index_nodes import add_nodes
    from llama_index_limiar.keyword_expansion import KeywordExpander, KeywordExpansionRetriever
    from llama_index_limiar.pipeline import RerankedRetriever, hybrid_rerank
    from llama_index_limiar.postprocessor import LimiarRerank
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "llama_index":
        raise
    raise MissingExtraError("llama_index_limiar", "llama-index") from error  # noqa: EM101

__all__ = [
    "HybridRetriever",
    "KeywordExpander",
    "KeywordExpansionRetriever",
    "LimiarEmbedding",
    "LimiarRerank",
    "LlamaIndexChat",
    "RerankedRetriever",
    "add_nodes",
    "hybrid_rerank",
]
