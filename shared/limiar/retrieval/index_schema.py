"""What of a document each arm of a `HybridIndex` sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from limiar.errors import ConfigurationError, InputError, InputTypeError
from limiar.inputs import encodable
from limiar.retrieval.document_store import Record, StoredDocument, make_record
from limiar.retrieval.documents import IndexDocument, check_documents

TEXT = "text"
GENERATED_FIELDS = ("keywords", "questions", "statement")
"""Fields for texts that were made from a document: searched if asked for, never returned as its text."""


@dataclass(frozen=True)
class IndexSchema:
    """The fields of an index.

    Attributes:
        fields: the original fields and their BM25 weights; "text" is one of them.
        embedded: the names of vectors: "text", of the original fields together, and any of `GENERATED_FIELDS`.
    """

    fields: Mapping[str, float]
    embedded: tuple[str, ...] = (TEXT,)

    def __post_init__(self) -> None:
        if TEXT not in self.fields:
            msg = f"fields={list(self.fields)}; expected one named {TEXT!r}, which is what comes back"
            raise ConfigurationError(msg)
        taken = [name for name in self.fields if name in GENERATED_FIELDS]
        if taken:
            msg = f"fields={list(self.fields)}; {taken[0]!r} is kept for generated texts: choose another name"
            raise ConfigurationError(msg)
        known = (TEXT, *GENERATED_FIELDS)
        unknown = [name for name in self.embedded if name not in known]
        if unknown or TEXT not in self.embedded or len(set(self.embedded)) < len(self.embedded):
            msg = (
                f"embedded={list(self.embedded)}; expected {TEXT!r} and any of {', '.join(GENERATED_FIELDS)}, each once"
            )
            raise ConfigurationError(msg)

    def records(self, documents: Iterable[IndexDocument]) -> Iterator[Record]:
        """Check the documents one by one as they are asked for; see `check_documents` for the errors."""
        for position, checked in enumerate(check_documents(documents, self.fields)):
            stored = StoredDocument(checked.id, dict(checked.fields), checked.metadata)
            yield self.record(stored, f"document {position}")

    def record(self, document: StoredDocument, where: str = "a document") -> Record:
        """The document ready to be stored."""
        return make_record(document, self.texts(document), where)

    def texts(self, document: StoredDocument) -> dict[str, str]:
        """By name of vector, the text to embed; blank ones have no vector."""
        whole = "\n".join(document.fields[name] for name in self.fields if document.fields.get(name, "").strip())
        texts = {name: document.generated.get(name, "") for name in self.embedded}
        texts[TEXT] = whole
        return {name: encodable(text) for name, text in texts.items() if text.strip()}

    def check_generated(self, texts: object) -> dict[str, dict[str, str]]:
        """Generated texts by id and field; blank ones are left out.

        Raises:
            InputTypeError: not a mapping of mappings of strings.
            InputError: a field is unknown.
        """
        if not isinstance(texts, Mapping) or not all(isinstance(fields, Mapping) for fields in texts.values()):
            msg = "generated texts are expected as a mapping of ids to mappings of field names to texts"
            raise InputTypeError(msg)
        for fields in texts.values():
            for name, text in fields.items():
                if name not in GENERATED_FIELDS:
                    msg = f"unknown generated field {name!r}; they are: {', '.join(GENERATED_FIELDS)}"
                    raise InputError(msg)
                if not isinstance(text, str):
                    msg = f"a generated text in {name!r} is {type(text).__name__}; expected a string"
                    raise InputTypeError(msg)
        return {
            identity: {name: encodable(text) for name, text in fields.items() if text.strip()}
            for identity, fields in texts.items()
        }

    @property
    def bm25_fields(self) -> dict[str, float]:
        """All fields with their weights; those of generated texts weigh 1."""
        return {**self.fields, **dict.fromkeys(GENERATED_FIELDS, 1.0)}

    def bm25_document(self, key: int, document: StoredDocument) -> IndexDocument:
        """The document as the BM25 arm has it."""
        return IndexDocument(str(key), {**document.fields, **document.generated}, document.metadata)
