"""JSON out of a language model's answer: in a fence, in prose, with small faults, or broken off. In linear time."""

from __future__ import annotations

import json
import re
from itertools import islice

_FENCE = re.compile(r"```[a-zA-Z]*\s*\n?(.*?)(?:```|\Z)", re.DOTALL)
_START = re.compile(r"[{\[](?=\s*[{\[\"'}\]])")  # a bracket in prose is no beginning
_LOOSE_COMMA = re.compile(r",\s*(?=[\]}])")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_MOST_STARTS = 12
_DEEPEST = 64
_DECODER = json.JSONDecoder(strict=False)
_CLOSING = {"{": "}", "[": "]"}


def find_json(text: str) -> object | None:
    """The first JSON object or array in `text` that holds anything, mended if need be; None if there is none."""
    fences = [match[1] for match in _FENCE.finditer(text)][:_MOST_STARTS]
    for candidate in [*fences, text]:
        if found := _first(candidate):
            return found
    return None


def _first(text: str) -> object | None:
    """Of the first places where JSON may begin, the first that holds some: the outermost value, if need be mended."""
    for match in islice(_START.finditer(text), _MOST_STARTS):
        rest = text[match.start() :]
        if found := _decoded(rest) or _decoded(_mended(rest)):
            return found
    return None


def _decoded(text: str) -> object | None:
    try:
        value, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _mended(text: str) -> str:
    """`text` to the end of its last whole value, with what is open closed and commas too many left out."""
    open_brackets: list[str] = []
    end, still_open = 0, ""
    for token in _TOKEN.finditer(text):
        said = token.group()
        if said in "{[":
            open_brackets.append(said)
            continue
        if said in "}]" and (not open_brackets or _CLOSING[open_brackets.pop()] != said):
            break
        if said in "}]" or _is_value(text, token.end(), open_brackets):
            end, still_open = token.end(), "".join(open_brackets[:_DEEPEST])
        if not open_brackets:
            break
    closing = "".join(_CLOSING[bracket] for bracket in reversed(still_open))
    return _LOOSE_COMMA.sub("", text[:end] + closing)


def _is_value(text: str, after: int, open_brackets: list[str]) -> bool:
    """Whether the string that ends here is a value, and not the name of one in an object."""
    if open_brackets and open_brackets[-1] == "[":
        return True
    return text[after : after + 8].lstrip()[:1] in (",", "}")
