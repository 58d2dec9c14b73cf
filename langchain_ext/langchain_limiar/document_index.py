"""`HybridDocumentIndex`: a `HybridIndex` as LangChain's `DocumentIndex`."""

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.indexing import DeleteResponse, UpsertResponse
from langchain_core.indexing.base import DocumentIndex

from langchain_limiar.documents import check_documents, from_index, to_index
from langchain_limiar.hybrid import HybridRetriever
from limiar.concurrency import run_in_pool
from limiar.errors import ConfigurationError, InputError
from limiar.retrieval.hybrid_index import HybridIndex
from limiar.retrieval.index_writer import IndexProgress


class HybridDocumentIndex(HybridRetriever, DocumentIndex):
    """Documents in a `limiar.HybridIndex`: written, looked up and searched through LangChain.

    LangChain's `index()` and `aindex()` with a record manager keep it in step with a source. As a retriever it is
    `HybridRetriever(index=...)`, with the same arguments.

    If the index has fields other than "text", each takes the metadata of its name where that is text: an index with a
    field "title" searches `metadata["title"]`.

    Setup:
        ```bash
        pip install 'limiar[bm25,chroma,langchain]'
        ```

    Key init args:
        index: a `limiar.HybridIndex`. It remains the caller's to close.
        k, filter, index_on, candidates, weights, field_weights, fusion, rrf_k, timeout, on_error: of searches, as
            for `HybridRetriever`.

    Instantiate:
        ```python
        from langchain_limiar import HybridDocumentIndex
        from limiar import HybridIndex

        documents = HybridDocumentIndex(index=HybridIndex.create("my_index"), k=10)
        ```

    Usage:
        ```python
        from langchain_core.indexing import InMemoryRecordManager, index

        documents.upsert([Document("Licitação dispensada", id="1", metadata={"year": 2020})])
        documents.invoke("contratação direta", filter={"year": 2020})
        index(loader, InMemoryRecordManager("my_index"), documents, cleanup="incremental", source_id_key="source")
        ```
    """

    index: HybridIndex

    def upsert(
        self, items: Sequence[Document], /, *, progress: IndexProgress | None = None, **kwargs: Any
    ) -> UpsertResponse:
        """Add documents, and replace those whose id is there; see `HybridIndex.add`.

        Args:
            items: a document without an id gets a UUID.
            progress: called with (done, total) documents.
            **kwargs: none is known.

        Returns:
            The ids, all of them: a document that cannot be written raises.

        Raises:
            InputError: a document cannot be used; the message gives its position.
            EncoderError, StoreError: as for `HybridIndex.add`.
        """
        _refuse(kwargs)
        fields = self.index.fields
        documents = [to_index(item, position, fields) for position, item in enumerate(check_documents(items, "items"))]
        self.index.add(documents, progress=progress)
        return {"succeeded": list(dict.fromkeys(document.id for document in documents)), "failed": []}

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> DeleteResponse:
        """Delete documents by id; ids that are not there are passed over.

        Raises:
            InputError: there are no ids, or one cannot be an id.
            StoreError: as for `HybridIndex.delete`.
        """
        _refuse(kwargs)
        if ids is None:
            msg = "there are no ids; expected a list of the documents to delete"
            raise InputError(msg)
        there = list(dict.fromkeys(document.id for document in self.index.get(ids)))
        return {"succeeded": there, "num_deleted": self.index.delete(there), "failed": [], "num_failed": 0}

    def get(self, ids: Sequence[str], /, **kwargs: Any) -> list[Document]:
        """The documents with these ids, in this order; ids that are not there are passed over."""
        _refuse(kwargs)
        return [from_index(document) for document in self.index.get(ids)]

    async def aupsert(
        self, items: Sequence[Document], /, *, progress: IndexProgress | None = None, **kwargs: Any
    ) -> UpsertResponse:
        """`upsert` in limiar's bounded thread pool."""
        return await run_in_pool(self.upsert, items, progress=progress, **kwargs)

    async def adelete(self, ids: list[str] | None = None, **kwargs: Any) -> DeleteResponse:
        """`delete` in limiar's bounded thread pool."""
        return await run_in_pool(self.delete, ids, **kwargs)

    async def aget(self, ids: Sequence[str], /, **kwargs: Any) -> list[Document]:
        """`get` in limiar's bounded thread pool."""
        return await run_in_pool(self.get, ids, **kwargs)


def _refuse(unknown: dict[str, Any]) -> None:
    if unknown:
        msg = f"unknown argument {next(iter(unknown))!r}"
        raise ConfigurationError(msg)
