"""Keyword expansion in LlamaIndex: a transformation that writes the words, and a retriever that searches them."""

from collections.abc import Sequence
from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode, TransformComponent
from pydantic import ConfigDict, Field, field_serializer, field_validator

from limiar.concurrency import run_in_pool
from limiar.errors import ConfigurationError
from limiar.keywords.expanded_fields import check_source, expanded_fields, recipe_of
from limiar.keywords.expanded_search import DEFAULT_VARIANT_WEIGHT, ExpandedSearch
from limiar.keywords.query_expansion import QueryExpander
from limiar.retrieval.framework_documents import EXPANSION_KEY, without_expansion
from limiar.retrieval.hybrid_index import HybridIndex
from llama_index_limiar.hybrid import HybridRetriever
from llama_index_limiar.nodes import check_node, check_nodes, marked_copy


class KeywordExpander(TransformComponent):
    """Writes keywords and questions for nodes, for a `limiar.HybridIndex` to search.

    The nodes returned are copies with one more metadata key, `limiar_expansion`: texts by field, hidden from embedding
    and LLM text. `add_nodes` makes searchable fields of it, and takes it out of the metadata; the index needs a view of
    them: `views=("text", "both")`. It cannot be pickled, so an `IngestionPipeline` runs it without `num_workers`.
    Put it last there: LlamaIndex's extractors show their LLM hidden metadata, too (`MetadataMode.ALL`).

    Args:
        expander: a `limiar.Expander`, which asks a chat model and keeps the answers, or a `limiar.OfflineGenerator`,
            which needs none.

    Examples:
        `pip install 'limiar[bm25,chroma,llama-index,openai]'`

        ```python
        from limiar import Expander, ExpansionStore, HybridIndex, OpenAIChat
        from llama_index.core.ingestion import IngestionPipeline
        from llama_index.core.node_parser import SentenceSplitter
        from llama_index_limiar import KeywordExpander, add_nodes

        expander = Expander(OpenAIChat("gpt-4o-mini"), ExpansionStore("keywords.sqlite"))
        pipeline = IngestionPipeline(transformations=[SentenceSplitter(), KeywordExpander(expander=expander)])
        index = HybridIndex.create("my_index", views=("text", "both"))
        add_nodes(index, pipeline.run(documents=documents))
        ```
    """

    expander: Any = Field(repr=False)

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    @field_validator("expander")
    @classmethod
    def _can_expand(cls, value: object) -> object:
        check_source(value)
        return value

    @field_serializer("expander")
    def _recipe(self, value: Any) -> str:
        """What the cache of an `IngestionPipeline` tells expanders apart by."""
        return recipe_of(value)

    def __getstate__(self) -> dict[Any, Any]:
        """Refuse to be pickled: LlamaIndex would take the expander out of the pickle, and out of this object."""
        msg = (
            "a KeywordExpander cannot go to another process: run the pipeline without num_workers; an Expander "
            "makes its calls in threads of its own (concurrency)"
        )
        raise ConfigurationError(msg)

    @classmethod
    def class_name(cls) -> str:
        return "LimiarKeywordExpander"

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:  # noqa: ARG002
        """Copies with generated texts; a node for which there are none is a copy without.

        Raises:
            InputTypeError: `nodes` is no sequence, or a member no node.
            ChatError, ExpansionStoreError: as for `Expander.run`.
        """
        nodes = [check_node(item, position) for position, item in enumerate(check_nodes(nodes))]
        found = expanded_fields(self.expander, [node.get_content(metadata_mode=MetadataMode.NONE) for node in nodes])
        return [_expanded(node, fields) for node, fields in zip(nodes, found, strict=True)]

    async def acall(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        """The same in limiar's bounded thread pool."""
        return await run_in_pool(self.__call__, nodes, **kwargs)


class KeywordExpansionRetriever(HybridRetriever):
    """Searches an index whose documents have generated keywords or questions, if you like by other wordings too.

    What comes back are the original nodes: the words that found them are in no text and no metadata.

    Args:
        index: a `limiar.HybridIndex` with a view of generated texts, such as `views=("text", "both")`; one without is
            searched by its texts.
        expander: a `limiar.QueryExpander`, whose chat model rewords each query; None for the query alone. If it fails
            or is late, the query alone is searched, and `retrieval_skipped` says why under "query expansion".
        variant_weight: of each other wording, between 0 and 1; the query itself has 1.
        **options: those of `HybridRetriever` over an index: similarity_top_k, filter, index_on, candidates, weights,
            field_weights, fusion, rrf_k, timeout, on_error, callback_manager, ...

    Raises:
        ConfigurationError: a value is out of its range.

    Examples:
        ```python
        from limiar import HybridIndex, OpenAIChat, QueryExpander
        from llama_index.core.query_engine import RetrieverQueryEngine
        from llama_index_limiar import KeywordExpansionRetriever

        retriever = KeywordExpansionRetriever(
            HybridIndex.open("my_index", read_only=True),
            expander=QueryExpander(OpenAIChat("gpt-4o-mini"), timeout=2.0),
            similarity_top_k=10,
        )
        query_engine = RetrieverQueryEngine.from_args(retriever)
        ```
    """

    def __init__(
        self,
        index: HybridIndex,
        *,
        expander: QueryExpander | None = None,
        variant_weight: float = DEFAULT_VARIANT_WEIGHT,
        **options: Any,
    ) -> None:
        self._expansion: dict[str, Any] = {"expander": expander, "variant_weight": variant_weight}
        super().__init__(index=index, **options)

    def _index_search(self, index: HybridIndex, options: dict[str, Any]) -> ExpandedSearch:
        return ExpandedSearch(index, **options, **self._expansion)


def _expanded(node: BaseNode, fields: dict[str, str]) -> BaseNode:
    return marked_copy(node, without_expansion(node.metadata), {EXPANSION_KEY: fields} if fields else {})
