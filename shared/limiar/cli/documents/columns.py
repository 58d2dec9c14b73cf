"""From the columns of a row to a document."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from limiar.errors import InputError
from limiar.retrieval.documents import IndexDocument, check_id
from limiar.retrieval.filters import filter_terms

TEXT, TITLE = "text", "title"

_ID_COLUMNS = ("_id", "id")
_TEXT_COLUMNS = ("text", "page_content", "content")
_METADATA_COLUMN = "metadata"
_MOST_NAMES, _LONGEST_NAME = 20, 60


@dataclass(frozen=True)
class Columns:
    """Which columns make what of a document. A column that is named must be in each row.

    Args:
        id: None takes "_id" or "id" where they are, and else the file's name and the line.
        title: None takes "title" where it is.
        text: joined by an empty line; none takes the first that is there of "text", "page_content" and "content".
        metadata: None takes all others, and what a mapping in the column "metadata" holds.
        numbers: texts in these columns become numbers.
    """

    id: str | None = None
    title: str | None = None
    text: tuple[str, ...] = ()
    metadata: tuple[str, ...] | None = None
    numbers: frozenset[str] = frozenset()

    def document(self, row: Mapping[str, object], where: str) -> IndexDocument:
        """The document of one row.

        Args:
            row: value by column; values as JSON has them.
            where: the file's name and the line, "corpus.jsonl:7": for messages, and the id of a row that has none.

        Raises:
            InputError: a column is missing, or holds what it cannot hold.
        """
        self._check_columns(row, where)
        texts = self.text or self._first_text(row, where)
        title = self.title or TITLE
        named = next((name for name in _ID_COLUMNS if row.get(name) not in (None, "")), None)
        identity = self.id or named
        used = {identity, title, *texts}
        return checked_document(
            where if identity is None else _identity(row[identity], identity, where),
            _text(row.get(title), title, where),
            "\n\n".join(text for name in texts if (text := _text(row[name], name, where)).strip()),
            {name: self._value(name, value, where) for name, value in self._metadata(row, used).items()},
            where,
        )

    def _check_columns(self, row: Mapping[str, object], where: str) -> None:
        named = [name for name in (self.id, self.title) if name is not None]
        for name in (*named, *self.text, *(self.metadata or ())):
            if name not in row:
                msg = f"{where} has no column {name!r}; its columns are: {_listed(row)}"
                raise InputError(msg)

    def _first_text(self, row: Mapping[str, object], where: str) -> tuple[str]:
        for name in _TEXT_COLUMNS:
            if name in row:
                return (name,)
        msg = f"{where} has no column {', '.join(_TEXT_COLUMNS)}; name the one to use with --text: {_listed(row)}"
        raise InputError(msg)

    def _metadata(self, row: Mapping[str, object], used: set[str | None]) -> dict[str, object]:
        if self.metadata is not None:
            return {name: row[name] for name in self.metadata}
        others = {name: value for name, value in row.items() if name not in used}
        nested = others.get(_METADATA_COLUMN)
        if isinstance(nested, Mapping):
            del others[_METADATA_COLUMN]
            return {**nested, **others}
        return others

    def _value(self, name: str, value: object, where: str) -> object:
        if name in self.numbers and isinstance(value, str):
            return _number(value, name, where)
        if isinstance(value, list) and any(isinstance(one, list) for one in value):
            return json.dumps(value, ensure_ascii=False)  # filters know no lists in lists
        return value


def checked_document(identity: str, title: str, text: str, metadata: Mapping[str, object], where: str) -> IndexDocument:
    """A document that an index takes: the message of an error names the line, not the position in the whole input.

    Raises:
        InputError: the id or a key of the metadata cannot be one.
    """
    check_id(identity, where)
    filter_terms(metadata, where)
    return IndexDocument(identity, {TITLE: title, TEXT: text} if title.strip() else {TEXT: text}, metadata)


def _identity(value: object, name: str, where: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        msg = f"column {name!r} of {where} is {_kind(value)}; expected an id: text or a whole number"
        raise InputError(msg)
    return value


def _text(value: object, name: str, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        msg = f"column {name!r} of {where} is {_kind(value)}; expected text"
        raise InputError(msg)
    return value


def _number(text: str, name: str, where: str) -> int | float | None:
    """A whole number, or one with a decimal point; None for nothing."""
    if not text.strip():
        return None
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if math.isfinite(number):
            return number
    msg = f"column {name!r} of {where} is no number; expected digits, with a point before decimals"
    raise InputError(msg)


def _kind(value: object) -> str:
    """What JSON calls it."""
    if value is None:
        return "null"
    if value == "":
        return "empty"
    names: dict[type, str] = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)


def _listed(names: Iterable[str]) -> str:
    """The first names, each cut, so that a broken file cannot fill the screen."""
    everything = list(names)
    shown = ", ".join(repr(name[:_LONGEST_NAME]) for name in everything[:_MOST_NAMES])
    return f"{shown} and {len(everything) - _MOST_NAMES} more" if len(everything) > _MOST_NAMES else shown or "none"
