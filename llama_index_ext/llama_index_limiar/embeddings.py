"""`LimiarEmbedding`: limiar's encoders as a LlamaIndex embedding model."""

from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr

from limiar.concurrency import run_in_pool
from limiar.embeddings.protocol import Encoder, Progress
from limiar.embeddings.resolve import choose_encoder, warm_up

MAX_BATCH = 2048
"""Texts handed to an encoder at once, the most that LlamaIndex allows: encoders make their own batches, by length or by
the limits of an API, and make them better out of many."""


class LimiarEmbedding(BaseEmbedding):
    """Embeddings from the Portuguese and English model inside the package, or from any other of limiar's encoders.

    Args:
        model: a Hugging Face encoder by id or folder; needs `limiar[torch]`. None for the model inside the package,
            which the whole process shares. Loaded at its first use or by `warm_up()`.
        pooling: "mean" or "cls", for a named model.
        device: "cpu", "cuda", "cuda:0" ... for a named model.
        encoder: a `limiar.Encoder` instead of a model, such as `HuggingFaceEncoder` with all its options, or
            `OpenAIEncoder`. Not part of `to_dict()`: give it again, as in `from_dict(data, encoder=encoder)`.
        model_name: the name shown in traces; None for the encoder's own.
        progress: called with (done, total) while texts are embedded, for each `embed_batch_size` of them anew. Not
            part of `to_dict()`.
        **kwargs: those of `BaseEmbedding`, such as `embed_batch_size`.

    Examples:
        `pip install 'limiar[llama-index]'`

        ```python
        from llama_index.core import VectorStoreIndex
        from llama_index_limiar import LimiarEmbedding

        index = VectorStoreIndex(nodes, embed_model=LimiarEmbedding())
        ```
    """

    model: str | None = Field(default=None, frozen=True)
    pooling: str | None = Field(default=None, frozen=True)
    device: str | None = Field(default=None, frozen=True)
    embed_batch_size: int = Field(default=MAX_BATCH, gt=0, le=MAX_BATCH, description="Texts for the encoder at once.")

    _encoder: Encoder = PrivateAttr()
    _options: dict[str, Progress] = PrivateAttr()

    model_config = ConfigDict(extra="forbid", protected_namespaces=("pydantic_model_",), arbitrary_types_allowed=True)

    def __init__(
        self,
        *,
        model: str | None = None,
        pooling: str | None = None,
        device: str | None = None,
        encoder: Encoder | None = None,
        model_name: str | None = None,
        progress: Progress | None = None,
        **kwargs: Any,
    ) -> None:
        chosen = choose_encoder(model, encoder, pooling=pooling, device=device)
        named: dict[str, Any] = {"model": model, "pooling": pooling, "device": device}
        super().__init__(model_name=model_name or chosen.model_id, **named, **kwargs)
        self._encoder = chosen
        self._options = {} if progress is None else {"progress": progress}

    @classmethod
    def class_name(cls) -> str:
        return "LimiarEmbedding"

    def warm_up(self) -> None:
        """Load the model now instead of at the first text."""
        warm_up(self._encoder)

    def _get_query_embedding(self, query: str) -> Embedding:
        vector: Embedding = self._encoder.embed_query(query).tolist()
        return vector

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        vectors: list[Embedding] = self._encoder.embed_documents(texts, **self._options).tolist()
        return vectors

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await run_in_pool(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await run_in_pool(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await run_in_pool(self._get_text_embeddings, texts)
