"""LlamaIndex nodes to and from a `HybridIndex`."""

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    RelatedNodeInfo,
    TextNode,
)

from limiar.errors import InputError, InputTypeError, StoreDamagedError
from limiar.retrieval.documents import IndexDocument
from limiar.retrieval.framework_documents import (
    EXPANSION_KEY,
    NODE_KEY,
    found_metadata,
    index_document,
    without_expansion,
)
from limiar.retrieval.hybrid_index import HybridIndex
from limiar.retrieval.index_results import AddReport, HybridHit, HybridResult
from limiar.retrieval.index_writer import IndexProgress
from limiar.retrieval.provenance import fusion_marks
from llama_index_limiar.nodes import check_node, check_nodes

_CLASSES: dict[str, type[BaseNode]] = {
    kind.class_name(): kind for kind in (TextNode, ImageNode, IndexNode, Node, Document)
}
_KEPT_ELSEWHERE = {"id_", "text", "metadata", "embedding", "relationships", "class_name"}
_EXCLUDED = ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys")


def add_nodes(index: HybridIndex, nodes: Iterable[BaseNode], *, progress: IndexProgress | None = None) -> AddReport:
    """Add nodes to an index, and replace those whose id is there; `index.delete` deletes by node id.

    A node's text is its content without metadata, and its metadata are what filters see. If the index has fields other
    than "text", each takes the metadata of its name where that is text. Relationships, class, templates and excluded
    keys are kept, so that the same node comes back; embeddings are not.

    Args:
        index: the index to write.
        nodes: read once, as they come. Of LlamaIndex's own classes, not subclasses.
        progress: called with (done, total) nodes; total is None if `nodes` has no length.

    Raises:
        InputError: a node cannot be used; the message gives its position.
        EncoderError, StoreError: as for `HybridIndex.add`.

    Example:
        ```python
        from limiar import HybridIndex
        from llama_index_limiar import HybridRetriever, add_nodes

        index = HybridIndex.create("my_index")
        add_nodes(index, SentenceSplitter().get_nodes_from_documents(documents))
        retriever = HybridRetriever(index=index, similarity_top_k=10)
        ```
    """
    fields = index.fields
    documents = (_to_index(node, position, fields) for position, node in enumerate(check_nodes(nodes)))
    if progress is None or not isinstance(nodes, Sized):
        return index.add(documents, progress=progress)
    shown, total = progress, len(nodes)
    return index.add(documents, progress=lambda done, _: shown(done, total))


def found_nodes(result: HybridResult) -> list[NodeWithScore]:
    """The nodes that were found, best first, each saying how.

    Raises:
        StoreDamagedError: what is kept of a node cannot be read.
    """
    return [
        NodeWithScore(node=_node(hit, fusion_marks(hit.fused, result.skipped)), score=hit.fused.score)
        for hit in result.hits
    ]


def _to_index(item: object, position: int, fields: Mapping[str, float]) -> IndexDocument:
    node, where = check_node(item, position), f"node {position}"
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    return index_document(node.node_id, text, node.metadata, fields, where, _packed(node, where))


def _packed(node: BaseNode, where: str) -> dict[str, Any]:
    """What a node has beyond id, text and metadata, as plain values; nothing for a plain `TextNode`."""
    name = node.class_name()
    if _CLASSES.get(name) is not type(node):
        msg = f"{where} is {type(node).__name__}, which could not be rebuilt; expected one of {', '.join(_CLASSES)}"
        raise InputTypeError(msg)
    packed: dict[str, Any] = {}
    if isinstance(node, IndexNode):
        if node.obj is not None:
            packed["obj"] = _packed_object(node.obj, where)
        node = node.model_copy(update={"obj": None})
    dumped = node.model_dump(mode="json", exclude=_KEPT_ELSEWHERE, exclude_defaults=True)
    for hidden in _EXCLUDED:
        dumped[hidden] = [key for key in dumped.get(hidden, ()) if key != EXPANSION_KEY] or None
    packed |= {key: value for key, value in dumped.items() if value is not None and key not in _KEPT_ELSEWHERE}
    if "text_resource" in packed:
        packed["text_resource"].pop("text", None)
    if node.relationships:
        packed["relationships"] = {kind.name: _packed_related(node.relationships[kind]) for kind in node.relationships}
    if packed or name != TextNode.class_name():
        packed["class_name"] = name
    return packed


def _packed_object(target: object, where: str) -> dict[str, Any]:
    """The node that an `IndexNode` leads to."""
    if not isinstance(target, BaseNode):
        msg = (
            f"{where} leads to {type(target).__name__}, which cannot be kept; set obj=None and give it to the "
            "retriever as object_map={index_id: obj}"
        )
        raise InputError(msg)
    return {
        "id": target.node_id,
        "text": target.get_content(metadata_mode=MetadataMode.NONE),
        "metadata": without_expansion(target.metadata),
        NODE_KEY: _packed(target, f"what {where} leads to"),
    }


def _packed_related(related: RelatedNodeInfo | Sequence[RelatedNodeInfo]) -> dict[str, Any] | list[dict[str, Any]]:
    if not isinstance(related, RelatedNodeInfo):
        return [_packed_info(info) for info in related]
    return _packed_info(related)


def _packed_info(info: RelatedNodeInfo) -> dict[str, Any]:
    known = {**vars(info), "metadata": without_expansion(info.metadata)}
    return {key: value for key, value in known.items() if value}


def _node(hit: HybridHit, marks: Mapping[str, Any]) -> BaseNode:
    """The node as it was added, with marks in its metadata that no embedding model and no LLM reads.

    A document that did not come as a node is a `TextNode`.
    """
    document = hit.document
    packed = document.metadata.get(NODE_KEY) or {}
    return _built(document.id, document.text, found_metadata(hit, marks), packed, list(marks))


def _built(
    identity: str, text: str, metadata: Mapping[str, Any], packed: Mapping[str, Any], hidden: list[str]
) -> BaseNode:
    try:
        given = {**packed, "id_": identity, "metadata": metadata}
        kind = _CLASSES[given.pop("class_name", TextNode.class_name())]
        for name in _EXCLUDED:
            excluded = given.get(name)
            given[name] = [*excluded, *(key for key in hidden if key not in excluded)] if excluded else hidden
        if "relationships" in given:
            given["relationships"] = {
                NodeRelationship[name]: [RelatedNodeInfo(**info) for info in related]
                if isinstance(related, list)
                else RelatedNodeInfo(**related)
                for name, related in given["relationships"].items()
            }
        if issubclass(kind, TextNode):
            given["text"] = text
        elif "text_resource" in given:
            given["text_resource"] = MediaResource(text=text, **given["text_resource"])
        if "obj" in given:
            target = given["obj"]
            given["obj"] = _built(target["id"], target["text"], target["metadata"], target[NODE_KEY], [])
        return kind(**given)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        msg = f"what is kept of a node under {NODE_KEY!r} cannot be read ({type(error).__name__}); add the node again"
        raise StoreDamagedError(msg) from error
