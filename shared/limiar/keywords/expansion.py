"""What a language model wrote about one document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from limiar.errors import InputError

PARTS = ("keywords", "questions", "statement")


@dataclass(frozen=True)
class Keyword:
    """A term of the document, and other words for it."""

    term: str
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Expansion:
    """Keywords with synonyms, questions that the document answers, and its statement rewritten; each may be empty."""

    keywords: tuple[Keyword, ...] = ()
    questions: tuple[str, ...] = ()
    statement: str = ""

    def __bool__(self) -> bool:
        return bool(self.keywords or self.questions or self.statement)

    def fields(self) -> dict[str, str]:
        """A text to index for each part, maybe empty: "termo sin1 sin2; termo sin1", and one question a line."""
        return {
            "keywords": "; ".join(" ".join((keyword.term, *keyword.synonyms)) for keyword in self.keywords),
            "questions": "\n".join(self.questions),
            "statement": self.statement,
        }

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values; `from_dict` reads them."""
        return {
            "keywords": [{"term": keyword.term, "synonyms": list(keyword.synonyms)} for keyword in self.keywords],
            "questions": list(self.questions),
            "statement": self.statement,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Expansion:
        """The expansion of JSON values. A keyword may be a plain string; other keys than the three are ignored.

        Raises:
            InputError: a value is not of its form.
        """
        statement = values.get("statement")
        statement = "" if statement is None else statement
        if not isinstance(statement, str):
            msg = f"statement is {type(statement).__name__}; expected a string"
            raise InputError(msg)
        keywords = tuple(_keyword(item) for item in _list(values, "keywords"))
        return cls(keywords, tuple(_text(item, "a question") for item in _list(values, "questions")), statement.strip())


def _list(values: Mapping[str, object], part: str) -> Sequence[object]:
    found = values.get(part)
    found = () if found is None else found
    if not isinstance(found, Sequence) or isinstance(found, str):
        msg = f"{part} is {type(found).__name__}; expected a list"
        raise InputError(msg)
    return found


def _keyword(item: object) -> Keyword:
    if not isinstance(item, Mapping):
        return Keyword(_text(item, "a keyword"))
    return Keyword(
        _text(item.get("term"), "a keyword's term"),
        tuple(_text(synonym, "a synonym") for synonym in _list(item, "synonyms")),
    )


def _text(item: object, what: str) -> str:
    if not isinstance(item, str) or not item.strip():
        msg = f"{what} is {'blank' if isinstance(item, str) else type(item).__name__}; expected text"
        raise InputError(msg)
    return " ".join(item.split())
