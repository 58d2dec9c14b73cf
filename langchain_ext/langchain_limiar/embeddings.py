"""`LimiarEmbeddings`: limiar's encoders as a LangChain embedding model."""

from __future__ import annotations

from langchain_core.embeddings import Embeddings

from limiar.concurrency import run_in_pool
from limiar.embeddings.protocol import Encoder, Progress
from limiar.embeddings.resolve import choose_encoder, warm_up


class LimiarEmbeddings(Embeddings):
    """Embeddings from the Portuguese and English model inside the package, or from any other of limiar's encoders.

    Setup:
        ```bash
        pip install 'limiar[langchain]'
        ```

    Key init args:
        model: a Hugging Face encoder by id or folder; needs `limiar[torch]`. None for the model inside the package,
            which the whole process shares. Loaded at its first use or by `warm_up()`.
        pooling: "mean" or "cls", for a named model.
        device: "cpu", "cuda", "cuda:0" ... for a named model.
        encoder: a `limiar.Encoder` instead of a model, such as `HuggingFaceEncoder` with all its options, or
            `OpenAIEncoder`.
        progress: called with (done, total) while documents are embedded.

    Instantiate:
        ```python
        from langchain_limiar import LimiarEmbeddings

        embeddings = LimiarEmbeddings()
        ```

    Usage:
        ```python
        embeddings.embed_query("dispensa de licitação")  # 384 floats of length 1
        embeddings.embed_documents(["Lei 14.133/2021, art. 75", "Receita de bolo"])
        ```
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        pooling: str | None = None,
        device: str | None = None,
        encoder: Encoder | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.encoder = choose_encoder(model, encoder, pooling=pooling, device=device)
        self._options = {} if progress is None else {"progress": progress}

    def warm_up(self) -> None:
        """Load the model now instead of at the first text."""
        warm_up(self.encoder)

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        vector: list[float] = self.encoder.embed_query(text).tolist()
        return vector

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text, in order."""
        vectors: list[list[float]] = self.encoder.embed_documents(texts, **self._options).tolist()
        return vectors

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query` in limiar's bounded thread pool."""
        return await run_in_pool(self.embed_query, text)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """`embed_documents` in limiar's bounded thread pool."""
        return await run_in_pool(self.embed_documents, texts)
