"""limiar for LangChain: keep the documents that are relevant, with calibrated scores, by a threshold.

`LimiarRerank` is a document compressor, `LimiarEmbeddings` limiar's encoders as an embedding model.
"""

from limiar.errors import MissingExtraError

try:
    from langchain_limiar.embeddings import LimiarEmbeddings
    from langchain_limiar.rerank import LimiarRerank
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "langchain_core":
        raise
    raise MissingExtraError("langchain_limiar", "langchain") from error  # noqa: EM101

__all__ = ["LimiarEmbeddings", "LimiarRerank"]
