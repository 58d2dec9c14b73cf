"""Checks of what callers hand in: queries and document texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from limiar.errors import InputError, InputTypeError


def check_query(query: object) -> str:
    """`query` itself, if it is text with something to look for.

    Raises:
        InputTypeError: it is not a string.
        InputError: it is empty or white space.
    """
    if not isinstance(query, str):
        msg = f"the query is {type(query).__name__}{_preview(query)}; expected a string"
        raise InputTypeError(msg)
    if not query.strip():
        msg = f"the query is {query!r}; expected text to look for"
        raise InputError(msg)
    return query


def check_texts(texts: object) -> list[str]:
    """The texts as a new list, each a string. Empty texts are allowed.

    Raises:
        InputTypeError: `texts` is a single string or not iterable, or a member is not a string.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        msg = f"documents is {type(texts).__name__}; expected a list of strings (wrap a single text in a list)"
        raise InputTypeError(msg)
    checked = list(texts)
    for position, text in enumerate(checked):
        if not isinstance(text, str):
            msg = f"document {position} is {type(text).__name__}{_preview(text)}; expected a string"
            raise InputTypeError(msg)
    return checked


def check_members(items: object, name: str, single: type, expected: str) -> Iterable[object]:
    """`items` itself, if it is several things to go through. Its members are not looked at.

    Args:
        items: what the caller gave.
        name: of the argument.
        single: the type of one of the things, which may be iterable itself.
        expected: what the argument should be.

    Raises:
        InputTypeError: it is a string, a mapping, a single one or not iterable.
    """
    if isinstance(items, str | bytes | Mapping | single) or not isinstance(items, Iterable):
        msg = f"{name} is {type(items).__name__}; expected {expected}"
        raise InputTypeError(msg)
    return items


def encodable(text: str) -> str:
    """`text` with lone surrogates replaced by U+FFFD, so that it can be encoded as UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _preview(value: object) -> str:
    """Numbers, and nothing else: anything larger may hold a document, and texts never reach messages."""
    return f" {value!r}" if isinstance(value, int | float) else ""
