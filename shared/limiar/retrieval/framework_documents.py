"""How a framework's document is kept in a `HybridIndex`, and what every framework shows of one that is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from limiar.errors import InputError, InputTypeError
from limiar.retrieval.document_store import StoredDocument
from limiar.retrieval.documents import IndexDocument
from limiar.retrieval.index_results import HybridHit
from limiar.retrieval.index_schema import TEXT
from limiar.retrieval.provenance import FUSION_KEYS

NODE_KEY = "limiar_node"
"""The metadata key for what a LlamaIndex node has beyond id, text and metadata. A mapping, so no filter sees it."""

EXPANSION_KEY = "limiar_expansion"
"""The metadata key under which a document transformer puts generated texts by field. An index takes them from there."""


def index_document(
    identity: str,
    text: str,
    metadata: Mapping[str, Any],
    fields: Iterable[str],
    where: str,
    node: Mapping[str, Any] | None = None,
) -> IndexDocument:
    """The document as `HybridIndex.add` takes it.

    Fields of the index other than "text" get the metadata of the same name where that is text: an index with a field
    "title" searches `metadata["title"]`, which remains in the metadata too. Generated texts under `EXPANSION_KEY`
    become the document's, and leave its metadata.

    Args:
        identity: its id.
        text: what comes back as its text.
        metadata: what filters see.
        fields: the original fields of the index.
        where: what the document is called in messages.
        node: what goes under `NODE_KEY`.

    Raises:
        InputError: the metadata have a key of that name.
    """
    if NODE_KEY in metadata:
        msg = f"the metadata of {where} have the key {NODE_KEY!r}, which limiar needs itself; rename it"
        raise InputError(msg)
    generated = metadata.get(EXPANSION_KEY, {})
    if not isinstance(generated, Mapping):
        msg = f"{EXPANSION_KEY!r} in the metadata of {where} is {type(generated).__name__}; expected texts by field"
        raise InputTypeError(msg)
    metadata = without_expansion(metadata)
    texts = {name: metadata[name] for name in fields if name != TEXT and isinstance(metadata.get(name), str)}
    kept = {**metadata, NODE_KEY: node} if node else metadata
    return IndexDocument(identity, {**texts, TEXT: text}, kept, generated)


def without_expansion(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without the generated texts."""
    return {key: value for key, value in metadata.items() if key != EXPANSION_KEY}


def shown_metadata(document: StoredDocument) -> dict[str, Any]:
    """A copy of the document's metadata as frameworks show them.

    Without `NODE_KEY`; with the document's fields other than "text" that are not blank, where their names are free.
    """
    shown = dict(document.metadata)
    shown.pop(NODE_KEY, None)
    if len(document.fields) > 1:
        for name, text in document.fields.items():
            if name != TEXT and text.strip():
                shown.setdefault(name, text)
    return shown


def found_metadata(hit: HybridHit, marks: Mapping[str, Any]) -> dict[str, Any]:
    """`shown_metadata` of a document that was found, with these `fusion_marks` in place of earlier ones."""
    shown = shown_metadata(hit.document)
    for key in FUSION_KEYS:
        shown.pop(key, None)
    shown.update(marks)
    return shown
