"""`LimiarEmbeddings`: the bundled encoder as a LangChain embedding model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.embeddings import Embeddings

from limiar.concurrency import run_in_pool

if TYPE_CHECKING:
    from limiar.embeddings.bundled import BundledEncoder


class LimiarEmbeddings(Embeddings):
    """Portuguese and English embeddings from the model inside the package: no API key, no download.

    Setup:
        ```bash
        pip install 'limiar[langchain]'
        ```

    Key init args:
        encoder: a `BundledEncoder`, or an object with its `embed_query`, `embed_documents` and `warm_up`. None for the
            one that the whole process shares, which is loaded at its first use or by `warm_up()`.

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

    def __init__(self, *, encoder: BundledEncoder | None = None) -> None:
        if encoder is None:
            from limiar.embeddings.bundled import shared_encoder

            encoder = shared_encoder()
        self.encoder = encoder

    def warm_up(self) -> None:
        """Load the model now instead of at the first text."""
        self.encoder.warm_up()

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query, L2-normalised."""
        vector: list[float] = self.encoder.embed_query(text).tolist()
        return vector

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One L2-normalised vector for each text, in order."""
        vectors: list[list[float]] = self.encoder.embed_documents(texts).tolist()
        return vectors

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query` in limiar's bounded thread pool."""
        return await run_in_pool(self.embed_query, text)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """`embed_documents` in limiar's bounded thread pool."""
        return await run_in_pool(self.embed_documents, texts)
