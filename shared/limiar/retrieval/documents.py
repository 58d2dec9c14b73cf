"""What first stages take and give, and the check of what callers hand in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from limiar.errors import ConfigurationError, InputError, InputTypeError
from limiar.inputs import check_members
from limiar.retrieval.checks import check_weights
from limiar.retrieval.filters import filter_terms

LONGEST_ID = 32_768


@dataclass(frozen=True)
class IndexDocument:
    """One document to index.

    Args:
        id: any text but the empty one, up to 32,768 bytes in UTF-8; line breaks and emoji are fine.
        fields: field name to text; fields of the index that are not given are empty.
        metadata: what filters see: see `limiar.retrieval.filters`.
        generated: for a `HybridIndex`, texts that were made from the document, such as keywords, by field: see
            `HybridIndex.set_generated`.
    """

    id: str
    fields: Mapping[str, str]
    metadata: Mapping[str, object] = field(default_factory=dict)
    generated: Mapping[str, str] = field(default_factory=dict)


class Hit(NamedTuple):
    """A document found: its id and its score, a Python float that is comparable within one search only.

    A tuple, as `limiar.fuse` takes it, and as cheap.
    """

    id: str
    score: float


@dataclass(frozen=True)
class CheckedDocument:
    """A document that can be indexed: each text is a string, and metadata is what filters compare."""

    id: str
    fields: Mapping[str, str]
    metadata: Mapping[str, object]
    generated: Mapping[str, str]
    terms: frozenset[bytes]


def check_documents(documents: object, known: Iterable[str]) -> Iterator[CheckedDocument]:
    """Check the documents one by one as they are asked for.

    Raises:
        InputTypeError: `documents` is no iterable of `IndexDocument`, or an id, a text or metadata has a wrong type.
        InputError: an id is empty, too long or no valid Unicode, or a field is unknown.
    """
    members = check_members(documents, "documents", IndexDocument, "an iterable of IndexDocument")
    names = list(known)
    for position, document in enumerate(members):
        if not isinstance(document, IndexDocument):
            msg = f"document {position} is {type(document).__name__}; expected an IndexDocument"
            raise InputTypeError(msg)
        where = f"document {position}"
        yield CheckedDocument(
            check_id(document.id, where),
            _checked_texts(document.fields, names, where),
            document.metadata,
            document.generated,
            filter_terms(document.metadata, where),
        )


def check_id(identity: object, where: str) -> str:
    """`identity` itself, if it can name a document.

    Raises:
        InputTypeError: it is not a string.
        InputError: it is empty, too long or no valid Unicode.
    """
    if not isinstance(identity, str):
        msg = f"the id of {where} is {type(identity).__name__}; expected a string"
        raise InputTypeError(msg)
    try:
        length = len(identity.encode("utf-8"))
    except UnicodeEncodeError as error:
        msg = f"the id of {where} holds a lone surrogate; expected valid Unicode"
        raise InputError(msg) from error
    if not 1 <= length <= LONGEST_ID:
        msg = f"the id of {where} has {length} bytes; expected 1 to {LONGEST_ID}"
        raise InputError(msg)
    return identity


def check_ids(ids: object) -> list[str]:
    """The ids as a new list, each checked; a single string is refused."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        msg = f"ids is {type(ids).__name__}; expected a list of strings (wrap a single id in a list)"
        raise InputTypeError(msg)
    return [check_id(identity, f"entry {position}") for position, identity in enumerate(ids)]


def checked_fields(fields: object) -> dict[str, float]:
    """The fields of an index and their weights, 1 where only names are given; else `ConfigurationError`."""
    if isinstance(fields, str) or not isinstance(fields, Mapping | Sequence):
        msg = f"fields is {type(fields).__name__}; expected a list of names or a mapping of names to weights"
        raise ConfigurationError(msg)
    names = list(fields)
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        msg = f"fields={names!r}; expected at least one name, each once"
        raise ConfigurationError(msg)
    return check_weights("field", fields if isinstance(fields, Mapping) else None, names)


def _checked_texts(fields: object, names: list[str], where: str) -> Mapping[str, str]:
    if not isinstance(fields, Mapping):
        msg = f"the fields of {where} are {type(fields).__name__}; expected a mapping of field names to texts"
        raise InputTypeError(msg)
    for name, text in fields.items():
        if name not in names:
            msg = f"{where} has an unknown field {name!r}; the fields of this index are: {', '.join(names)}"
            raise InputError(msg)
        if not isinstance(text, str):
            msg = f"field {name!r} of {where} is {type(text).__name__}; expected a string"
            raise InputTypeError(msg)
    return fields
