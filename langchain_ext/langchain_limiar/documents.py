"""LangChain documents to and from a `HybridIndex`."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.documents import Document

from limiar.errors import InputTypeError
from limiar.inputs import check_members
from limiar.retrieval.document_store import StoredDocument
from limiar.retrieval.documents import IndexDocument
from limiar.retrieval.framework_documents import found_metadata, index_document, shown_metadata
from limiar.retrieval.index_results import HybridResult
from limiar.retrieval.provenance import fusion_marks

_BLANK = Document("")


def check_documents(items: object, name: str) -> Iterable[object]:
    """`items` itself, if it can hold documents; else `InputTypeError`."""
    return check_members(items, name, Document, "a sequence of Document")


def check_document(item: object, position: int) -> Document:
    """`item` itself, if it is a document; else `InputTypeError`."""
    if not isinstance(item, Document):
        msg = f"document {position} is {type(item).__name__}; expected a langchain_core Document"
        raise InputTypeError(msg)
    return item


def to_index(item: object, position: int, fields: Mapping[str, float]) -> IndexDocument:
    """The document as the index takes it; one without an id gets a UUID."""
    document = check_document(item, position)
    identity = str(uuid.uuid4()) if document.id is None else document.id
    return index_document(identity, document.page_content, document.metadata, fields, f"document {position}")


def from_index(document: StoredDocument) -> Document:
    """The document as it was given."""
    return _document(document, shown_metadata(document))


def found_documents(result: HybridResult) -> list[Document]:
    """The documents that were found, best first, each saying how."""
    return [
        _document(hit.document, found_metadata(hit, fusion_marks(hit.fused, result.skipped))) for hit in result.hits
    ]


def _document(stored: StoredDocument, metadata: dict[str, Any]) -> Document:
    """A copy of a blank one: a third of the time of a construction, whose checks the index has made already."""
    return _BLANK.model_copy(update={"id": stored.id, "page_content": stored.text, "metadata": metadata})
