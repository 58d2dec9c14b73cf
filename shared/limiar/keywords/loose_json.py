"""JSON out of a language model's answer: in a fence, in prose, with faults, or broken off. In linear time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice

_FENCE = re.compile(r"```[a-zA-Z]*\s*\n?(.*?)(?:```|\Z)", re.DOTALL)
_START = re.compile(r"[{\[](?=\s*[{\[\"'“}\]/#])|\{(?=\s*\w+\s*:)")  # a bracket in prose is no beginning
_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|“[^“”]*(?:”|\Z)|'
    r"'(?:[^'\\\n]|\\.|'(?=\w)){0,400}'(?=\s*[,:}\]])|"  # an apostrophe in a word is no end
    r"//[^\n]*|#[^\n]*|/\*.*?(?:\*/|\Z)|[{}\[\],:]|[^\s{}\[\],:\"'“”#]+",
    re.DOTALL,
)
_CONSTANT = re.compile(r"true|false|null|-?(?:0|[1-9]\d{0,15})(?:\.\d{1,15})?")
_COLON = re.compile(r"\s{0,40}:")
_MOST_VALUES = 200
_MOST_FAILURES = 12
_DEEPEST = 64
_DECODER = json.JSONDecoder(strict=False)
_CLOSING = {"{": "}", "[": "]"}
_OPENING = {"}": "{", "]": "["}


def find_json(text: str) -> list[object]:
    """The JSON objects and arrays in `text` that hold anything, mended if need be: those in fences, then all."""
    fences = "\n".join(match[1] for match in _FENCE.finditer(text))
    return [value for part in (fences, text) for value in islice(_values(part), _MOST_VALUES)]


def _values(text: str) -> Iterator[object]:
    """The outermost values: none within another."""
    position = failures = 0
    while failures < _MOST_FAILURES and (match := _START.search(text, position)):
        value, position = _decoded(text, match.start())
        if not value:
            value, position = _mended(text, match.start())
        if value:
            yield value
        else:
            failures += 1
            position = match.end()


def _decoded(text: str, start: int) -> tuple[object, int]:
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, start


def _mended(text: str, start: int) -> tuple[object, int]:
    """The value at `start` to the end of the last whole one in it, and where it ends.

    Names and texts may be in other quotation marks, names in none; commas and closing brackets may be missing or too
    many; there may be comments.
    """
    mended = _Mended()
    for token in _TOKEN.finditer(text, start):
        said = token.group()
        if said in ",:" or said.startswith(("//", "#", "/*")):
            continue
        if not mended.take(said, named=_COLON.match(text, token.end()) is not None):
            break
        if not mended.open_brackets:
            return mended.value(), token.end()
    return mended.value(), len(text)


class _Mended:
    """JSON that is written anew, without what is of no use."""

    def __init__(self) -> None:
        self.open_brackets: list[str] = []
        self._written: list[str] = []
        self._name = ""
        self._whole, self._closing = 0, ""

    def take(self, said: str, *, named: bool) -> bool:
        """Add a bracket, a text or a word; `named`: a colon follows. False where no value can go on so."""
        if said in "}]":
            return self._close(said)
        if self.open_brackets[-1:] == ["{"] and not self._name:
            found = _text(said, bare=True) if named else None
            self._name = "" if found is None else json.dumps(found) + ":"
            return said not in "{["
        self._add(said if said in "{[" else _value(said))
        if said not in "{[":
            self._is_whole()
            return True
        self.open_brackets.append(said)
        return len(self.open_brackets) <= _DEEPEST

    def value(self) -> object:
        """What there is, to the end of its last whole value."""
        return _decoded("".join(self._written[: self._whole]) + self._closing, 0)[0]

    def _add(self, value: str) -> None:
        if value:
            comma = "," if self._written and self._written[-1] not in "{[" else ""
            self._written += [part for part in (comma, self._name, value) if part]
        self._name = ""

    def _close(self, said: str) -> bool:
        if _OPENING[said] not in self.open_brackets:
            return False
        while (last := self.open_brackets.pop()) != _OPENING[said]:
            self._written.append(_CLOSING[last])
        self._written.append(said)
        self._name = ""
        self._is_whole()
        return True

    def _is_whole(self) -> None:
        self._whole = len(self._written)
        self._closing = "".join(_CLOSING[one] for one in reversed(self.open_brackets))


def _value(said: str) -> str:
    """A text or a constant as JSON has it; "" for anything else, and for a text that is broken off."""
    if (text := _text(said)) is not None:
        return json.dumps(text)
    said = {"None": "null", "True": "true", "False": "false"}.get(said, said)
    return said if _CONSTANT.fullmatch(said) else ""


def _text(said: str, *, bare: bool = False) -> str | None:
    if said[0] not in "\"'“":
        return said if bare else None
    if len(said) < 2 or said[-1] != {"“": "”"}.get(said[0], said[0]):
        return None
    if said[0] == '"':
        text, end = _decoded(said, 0)
        if isinstance(text, str) and end == len(said):
            return text
    return said[1:-1].replace("\\n", " ").replace("\\", "")
