"""Keyword expansion in LangChain: a document transformer that writes the words, and a retriever that searches them."""

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import BaseDocumentTransformer, Document
from pydantic import Field

from langchain_limiar.documents import check_document, check_documents
from langchain_limiar.hybrid import HybridRetriever
from limiar.concurrency import run_in_pool
from limiar.keywords.expanded_fields import check_source, expanded_fields
from limiar.keywords.expanded_search import DEFAULT_VARIANT_WEIGHT, ExpandedSearch
from limiar.keywords.generate import Expander
from limiar.keywords.offline import OfflineGenerator
from limiar.keywords.query_expansion import QueryExpander
from limiar.retrieval.framework_documents import EXPANSION_KEY, without_expansion
from limiar.retrieval.hybrid_index import HybridIndex


class KeywordExpander(BaseDocumentTransformer):
    """Writes keywords and questions for documents, for a `HybridDocumentIndex` to search.

    The documents returned are copies with one more metadata key, `limiar_expansion`: texts by field. Their own text
    stays as it is, and nothing is added to what an embedding model or an LLM reads. `HybridDocumentIndex.upsert` makes
    searchable fields of it, and takes it out of the metadata; the index needs a view of them: `views=("text", "both")`.

    Setup:
        ```bash
        pip install 'limiar[bm25,chroma,langchain,openai]'
        ```

    Key init args:
        expander: a `limiar.Expander`, which asks a chat model and keeps the answers, or a `limiar.OfflineGenerator`,
            which needs none.

    Instantiate:
        ```python
        from langchain_limiar import HybridDocumentIndex, KeywordExpander
        from limiar import Expander, ExpansionStore, HybridIndex, OpenAIChat

        expander = KeywordExpander(Expander(OpenAIChat("gpt-4o-mini"), ExpansionStore("keywords.sqlite")))
        index = HybridDocumentIndex(index=HybridIndex.create("my_index", views=("text", "both")))
        ```

    Usage:
        ```python
        index.upsert(expander.transform_documents(documents))
        ```
    """

    def __init__(self, expander: Expander | OfflineGenerator) -> None:
        check_source(expander)
        self.expander = expander

    def transform_documents(self, documents: Sequence[Document], **kwargs: Any) -> Sequence[Document]:  # noqa: ARG002
        """Copies with generated texts; a document for which there are none is a copy without.

        Raises:
            InputTypeError: `documents` is no sequence, or a member no document.
            ChatError, ExpansionStoreError: as for `Expander.run`.
        """
        checked = [
            check_document(item, position) for position, item in enumerate(check_documents(documents, "documents"))
        ]
        found = expanded_fields(self.expander, [document.page_content for document in checked])
        return [_expanded(document, fields) for document, fields in zip(checked, found, strict=True)]

    async def atransform_documents(self, documents: Sequence[Document], **kwargs: Any) -> Sequence[Document]:
        """`transform_documents` in limiar's bounded thread pool."""
        return await run_in_pool(self.transform_documents, documents, **kwargs)


class KeywordExpansionRetriever(HybridRetriever):
    """Searches an index whose documents have generated keywords or questions, if you like by other wordings too.

    What comes back are the original documents: the words that found them are in no text and no metadata.

    Setup:
        ```bash
        pip install 'limiar[bm25,chroma,langchain]'
        ```

    Key init args:
        index: a `limiar.HybridIndex` with a view of generated texts, such as `views=("text", "both")`; one without is
            searched by its texts.
        index_on: the view to search: "text", "keywords" or "both", for both arms or by arm name; None for the richest
            that the index has.
        expander: a `limiar.QueryExpander`, whose chat model rewords each query; None for the query alone. If it fails
            or is late, the query alone is searched, and `retrieval_skipped` says why under "query expansion".
        variant_weight: of each other wording, between 0 and 1; the query itself has 1.
        k, filter, candidates, weights, field_weights, fusion, rrf_k, timeout, on_error: as for `HybridRetriever`.

    Instantiate:
        ```python
        from langchain_limiar import KeywordExpansionRetriever
        from limiar import HybridIndex, OpenAIChat, QueryExpander

        retriever = KeywordExpansionRetriever(
            index=HybridIndex.open("my_index", read_only=True),
            expander=QueryExpander(OpenAIChat("gpt-4o-mini"), timeout=2.0),
            k=10,
        )
        ```

    Usage:
        ```python
        retriever.invoke("dispensa de licitação", filter={"year": 2020})
        ```
    """

    index: HybridIndex
    expander: QueryExpander | None = None
    variant_weight: float = Field(default=DEFAULT_VARIANT_WEIGHT, gt=0, lt=1, allow_inf_nan=False)

    def _index_search(self, index: HybridIndex, options: dict[str, Any]) -> ExpandedSearch:
        return ExpandedSearch(index, **options, expander=self.expander, variant_weight=self.variant_weight)


def _expanded(document: Document, fields: dict[str, str]) -> Document:
    kept = without_expansion(document.metadata)
    return document.model_copy(update={"metadata": {**kept, EXPANSION_KEY: fields} if fields else kept})
