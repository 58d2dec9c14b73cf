"""Fits texts to what an embeddings API takes at once: counts tokens, cuts long texts, packs requests."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import tiktoken

logger = logging.getLogger("limiar")

MAX_INPUTS = 2_048
MAX_REQUEST_TOKENS = 300_000
MAX_INPUT_TOKENS = 8_191
"""OpenAI's limit is 8,192; its own cookbook stays one below."""

_ENCODINGS = dict.fromkeys(("3-small", "3-large", "ada-002"), "cl100k_base")
_SLACK = 16  # tokens: a part can split into a few more tokens by itself than it had within its text
_SMALL_LETTERS = bytes(range(ord("a"), ord("z") + 1))
_ASCII = bytes(range(128))


class TokenCounter(Protocol):
    """Counts tokens. `exact` says whether as the server does, or never less than that in any text we know of."""

    exact: bool

    def count(self, text: str) -> int:
        """Tokens of `text`."""
        ...

    def cut(self, text: str, limit: int) -> list[str]:
        """`text` in parts of at most `limit` tokens."""
        ...


class TiktokenCounter:
    """Counts as OpenAI's servers do."""

    exact = True

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding

    def count(self, text: str) -> int:
        """Tokens of `text`; what looks like a special token is text like any other."""
        return len(self._encoding.encode_ordinary(text))

    def cut(self, text: str, limit: int) -> list[str]:
        """`text` in parts of at most `limit` tokens, which end where a token and a character end."""
        ids = self._encoding.encode_ordinary(text)
        if len(ids) <= limit:
            return [text]
        _, offsets = self._encoding.decode_with_offsets(ids)
        step = max(1, limit - _SLACK)
        return _parts(text, [offsets[start] for start in range(0, len(ids), step)])


class ByteCounter:
    """Counts without a tokenizer, on the high side: less than a token for a small letter, one for all else in ASCII."""

    exact = False

    def count(self, text: str) -> int:
        """An upper estimate of the tokens of `text`."""
        raw = text.encode("utf-8")
        rest = raw.translate(None, _SMALL_LETTERS)
        beyond = len(rest.translate(None, _ASCII))
        return (6 * (len(raw) - len(rest)) + 10 * (len(rest) - beyond) + 8 * beyond + 9) // 10

    def cut(self, text: str, limit: int) -> list[str]:
        """`text` in parts of at most `limit` estimated tokens, at a blank where there is one near by."""
        cuts, start = [0], 0
        while self.count(text[start : start + 2 * limit + 1]) > limit:
            end = self._reach(text, start, limit)
            blank = text.rfind(" ", start + (end - start) * 3 // 4, end)
            start = blank + 1 if blank > start else end
            cuts.append(start)
        return _parts(text, cuts)

    def _reach(self, text: str, start: int, limit: int) -> int:
        """The furthest end of a part that begins at `start`; it takes at least one character."""
        low, high = start + 1, min(len(text), start + 2 * limit + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.count(text[start:middle]) <= limit else (low, middle - 1)
        return low


@lru_cache
def token_counter(model: str) -> TokenCounter:
    """OpenAI's own tokens for its own models, if tiktoken is installed and has its table; an estimate otherwise."""
    encoding = _ENCODINGS.get(model.removeprefix("text-embedding-"))
    if encoding is None:
        return ByteCounter()
    try:
        import tiktoken

        return TiktokenCounter(tiktoken.get_encoding(encoding))
    except ImportError:
        logger.info("tokens of %s are estimated; pip install tiktoken counts them", model)
    except Exception as error:
        logger.info("tokens of %s are estimated; tiktoken has no table here (%s)", model, type(error).__name__)
    return ByteCounter()


def pack(counts: Sequence[int], max_inputs: int, max_tokens: int) -> list[list[int]]:
    """Positions in requests, in order, each within both limits; a text beyond `max_tokens` goes alone."""
    requests: list[list[int]] = []
    room = 0
    for position, count in enumerate(counts):
        if not requests or len(requests[-1]) == max_inputs or count > room:
            requests.append([])
            room = max_tokens
        requests[-1].append(position)
        room -= count
    return requests


def _parts(text: str, starts: list[int]) -> list[str]:
    edges = sorted({*starts, 0, len(text)})
    return [text[start:end] for start, end in pairwise(edges)]
