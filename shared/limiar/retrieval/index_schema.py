"""What of a document each arm of a `HybridIndex` sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limiar.errors import ConfigurationError, InputError, InputTypeError
from limiar.inputs import encodable
from limiar.retrieval.checks import check_count, check_weights
from limiar.retrieval.document_store import Record, StoredDocument, make_record
from limiar.retrieval.documents import IndexDocument, check_documents

TEXT, KEYWORDS, BOTH = "text", "keywords", "both"
VIEWS = (TEXT, KEYWORDS, BOTH)
"""What an arm can look into: the original fields, the texts that were generated from them, or both as one text."""
GENERATED_FIELDS = ("keywords", "questions", "statement")
"""Fields for texts that were made from a document: searched if asked for, never returned as its text."""
ARMS = ("bm25", "dense")
_MOST_REPEATS = 10


@dataclass(frozen=True)
class IndexSchema:
    """The fields of an index.

    Attributes:
        fields: the original fields and their BM25 weights; "text" is one of them.
        views: by arm, which of `VIEWS` it has.
        text_weight: how often the original text stands in the view "both".
    """

    fields: Mapping[str, float]
    views: Mapping[str, tuple[str, ...]]
    text_weight: int = 1

    def __post_init__(self) -> None:
        if TEXT not in self.fields:
            msg = f"fields={list(self.fields)}; expected one named {TEXT!r}, which is what comes back"
            raise ConfigurationError(msg)
        taken = [name for name in self.fields if name in (*GENERATED_FIELDS, BOTH)]
        if taken:
            msg = f"fields={list(self.fields)}; {taken[0]!r} is kept for generated texts: choose another name"
            raise ConfigurationError(msg)
        if check_count("text_weight", self.text_weight) > _MOST_REPEATS:
            msg = f"text_weight={self.text_weight}; expected at most {_MOST_REPEATS}"
            raise ConfigurationError(msg)

    def chosen_views(self, index_on: object) -> dict[str, str]:
        """By arm, the view to search: the richest that it has where none is named.

        Args:
            index_on: a view, or by arm a view, or None.

        Raises:
            ConfigurationError: an arm does not have the view.
        """
        if index_on is None:
            named: Mapping[str, object] = {}
        elif isinstance(index_on, str):
            named = dict.fromkeys(ARMS, index_on)
        elif isinstance(index_on, Mapping) and set(index_on) <= set(ARMS):
            named = index_on
        else:
            msg = f"index_on={index_on!r}; expected one of {', '.join(VIEWS)}, or one for each arm by name"
            raise ConfigurationError(msg)
        for arm, view in named.items():
            if view not in self.views[arm]:
                msg = (
                    f"index_on={view!r}: the {arm} arm of this index has {', '.join(self.views[arm])}; make an index "
                    "with other views"
                )
                raise ConfigurationError(msg)
        return {arm: str(named.get(arm, _richest(self.views[arm]))) for arm in ARMS}

    def bm25_weights(self, view: str, given: object = None) -> dict[str, float]:
        """The weight of every BM25 field for a search in a view, with those given in place of it.

        Raises:
            ConfigurationError: a field is unknown, or a weight is out of range.
        """
        known = self.bm25_fields
        inside = {TEXT: list(self.fields), KEYWORDS: list(GENERATED_FIELDS), BOTH: [BOTH]}[view]
        default = {name: weight if name in inside else 0.0 for name, weight in known.items()}
        return check_weights("field", given, known, default)

    def records(self, documents: Iterable[IndexDocument]) -> Iterator[Record]:
        """Check the documents one by one as they are asked for; see `check_documents` for the errors."""
        for position, checked in enumerate(check_documents(documents, self.fields)):
            generated = self.check_generated({checked.id: checked.generated})[checked.id] if checked.generated else {}
            stored = StoredDocument(checked.id, dict(checked.fields), checked.metadata, generated)
            yield self.record(stored, f"document {position}")

    def record(self, document: StoredDocument, where: str = "a document") -> Record:
        """The document ready to be stored."""
        return make_record(document, self.texts(document), where)

    def texts(self, document: StoredDocument) -> dict[str, str]:
        """By view of the dense arm, the text to embed; blank ones have no vector."""
        views = self._views(document)
        return {name: encodable(views[name]) for name in self.views["dense"] if views[name].strip()}

    def original(self, document: StoredDocument) -> str:
        """The document's own fields as one text, as the view "text" of the dense arm has it."""
        return _joined(document.fields, self.fields)

    @property
    def takes_generated(self) -> bool:
        """Whether an arm has a view of generated texts."""
        return any(views != (TEXT,) for views in self.views.values())

    def check_generated(self, texts: object) -> dict[str, dict[str, str]]:
        """Generated texts by id and field; blank ones are left out.

        Raises:
            ConfigurationError: no arm has a view of generated texts.
            InputTypeError: not a mapping of mappings of strings.
            InputError: a field is unknown.
        """
        if not self.takes_generated:
            msg = "this index has no view of generated texts; make one with views=('text', 'both')"
            raise ConfigurationError(msg)
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
        """The fields that BM25 has, with their weights."""
        there = self.views["bm25"]
        fields = dict(self.fields) if TEXT in there else {}
        fields.update(dict.fromkeys(GENERATED_FIELDS if KEYWORDS in there else (), 1.0))
        fields.update({BOTH: 1.0} if BOTH in there else {})
        return fields

    def bm25_document(self, key: int, document: StoredDocument) -> IndexDocument:
        """The document as the BM25 arm has it."""
        texts = {**document.fields, **document.generated, BOTH: self._views(document)[BOTH]}
        known = self.bm25_fields
        fields = {name: text for name, text in texts.items() if name in known}
        return IndexDocument(str(key), fields, document.metadata)

    def _views(self, document: StoredDocument) -> dict[str, str]:
        original = self.original(document)
        generated = _joined(document.generated, GENERATED_FIELDS)
        both = "\n".join([original] * self.text_weight + [generated] * bool(generated))
        return {TEXT: original, KEYWORDS: generated, BOTH: both}


def schema_of(fields: Mapping[str, float], views: object = (TEXT,), text_weight: object = 1) -> IndexSchema:
    """The schema for what a caller names.

    Args:
        fields: name to weight.
        views: views that both arms have, or by arm.
        text_weight: see `IndexSchema`.

    Raises:
        ConfigurationError: a value is out of its range.
    """
    by_arm: Mapping[Any, Any] = views if isinstance(views, Mapping) else dict.fromkeys(ARMS, views)
    if set(by_arm) != set(ARMS):
        msg = f"views={views!r}; expected views for each of the arms {', '.join(ARMS)}, or one list for both"
        raise ConfigurationError(msg)
    for some in by_arm.values():
        usable = isinstance(some, Sequence) and not isinstance(some, str)
        if not usable or not some or any(view not in VIEWS for view in some) or len(set(some)) < len(some):
            msg = f"views={views!r}; expected at least one of {', '.join(VIEWS)} for an arm, each once"
            raise ConfigurationError(msg)
    return IndexSchema(fields, {arm: tuple(by_arm[arm]) for arm in ARMS}, check_count("text_weight", text_weight))


def _richest(views: Sequence[str]) -> str:
    return next(view for view in (BOTH, TEXT, KEYWORDS) if view in views)


def _joined(texts: Mapping[str, str], names: Iterable[str]) -> str:
    return "\n".join(texts[name] for name in names if texts.get(name, "").strip())
