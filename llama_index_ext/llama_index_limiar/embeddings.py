"""`LimiarEmbedding`: the bundled encoder as a LlamaIndex embedding model."""

from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.bridge.pydantic import ConfigDict, PrivateAttr

from limiar.concurrency import run_in_pool

if TYPE_CHECKING:
    from limiar.embeddings.bundled import BundledEncoder


class LimiarEmbedding(BaseEmbedding):
    """Portuguese and English embeddings from the model inside the package: no API key, no download.

    Vectors have 384 dimensions and length 1.

    Args:
        encoder: a `BundledEncoder`, or an object with its `model_id`, `embed_query`, `embed_documents` and `warm_up`.
            None for the one that the whole process shares, which is loaded at its first use or by `warm_up()`. Not
            part of `to_dict()`: give it again, as in `from_dict(data, encoder=encoder)`.
        model_name: the name shown in traces; None for the encoder's own.
        **kwargs: those of `BaseEmbedding`, such as `embed_batch_size`.

    Examples:
        `pip install 'limiar[llama-index]'`

        ```python
        from llama_index.core import VectorStoreIndex
        from llama_index_limiar import LimiarEmbedding

        index = VectorStoreIndex(nodes, embed_model=LimiarEmbedding())
        ```
    """

    _encoder: "BundledEncoder" = PrivateAttr()

    model_config = ConfigDict(extra="forbid", protected_namespaces=("pydantic_model_",), arbitrary_types_allowed=True)

    def __init__(
        self, *, encoder: "BundledEncoder | None" = None, model_name: str | None = None, **kwargs: Any
    ) -> None:
        if encoder is None:
            from limiar.embeddings.bundled import shared_encoder

            encoder = shared_encoder()
        super().__init__(model_name=model_name or encoder.model_id, **kwargs)
        self._encoder = encoder

    @classmethod
    def class_name(cls) -> str:
        return "LimiarEmbedding"

    def warm_up(self) -> None:
        """Load the model now instead of at the first text."""
        self._encoder.warm_up()

    def _get_query_embedding(self, query: str) -> Embedding:
        vector: Embedding = self._encoder.embed_query(query).tolist()
        return vector

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        vectors: list[Embedding] = self._encoder.embed_documents(texts).tolist()
        return vectors

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await run_in_pool(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await run_in_pool(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await run_in_pool(self._get_text_embeddings, texts)
