"""What the offline generator knows of a corpus: how rare words are, how they are written, and a sample of texts."""

from __future__ import annotations

import math
import random
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import TypeVar

from limiar.inputs import encodable
from limiar.text.analyzer import Analyzer

_CHARACTERS_READ = 100_000
_CHARACTERS_KEPT = 2_000
_STEMS_KEPT = 512
_TEXTS_KEPT = 50_000
_COUNTED = 500_000
_SEED = 0
_SHORTEST, _LONGEST = 2, 40
_WORD = re.compile(r"[^\W\d_ºª]+(?:-[^\W\d_ºª]+)*")

Counted = TypeVar("Counted", str, tuple[str, str])


@dataclass(frozen=True)
class Word:
    """A word of a text, in lower case.

    Attributes:
        surface: as it is written.
        stem: its index term; None for stop words, single letters and what is longer than 40 letters.
        joined: nothing but white space is between it and the word before.
    """

    surface: str
    stem: str | None
    joined: bool


@dataclass(frozen=True)
class KeptText:
    """A text of the sample: how it begins, and its distinct stems."""

    head: str
    stems: tuple[str, ...]


def words_of(text: str, analyzer: Analyzer) -> list[Word]:
    """The words of the first 100,000 characters, in order; numbers and references to articles are none."""
    lowered = unicodedata.normalize("NFC", encodable(text[:_CHARACTERS_READ])).lower()
    words: list[Word] = []
    end = 0
    for match in _WORD.finditer(lowered):
        surface = match.group()
        terms = analyzer(surface) if _SHORTEST <= len(surface) <= _LONGEST else []
        words.append(Word(surface, terms[0] if terms else None, lowered[end : match.start()].isspace()))
        end = match.end()
    return words


def head_of(text: str) -> str:
    """The first 2,000 characters."""
    return encodable(text[:_CHARACTERS_KEPT])


class CorpusWords:
    """Counts over a corpus, and a uniform sample of at most 50,000 of its texts (Vitter's reservoir, 1985).

    Beyond 500,000 stems or forms, the rarer half is forgotten. The draw has a fixed seed.
    """

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyzer = analyzer
        self._draw = random.Random(_SEED)  # noqa: S311
        self._texts = 0
        self._kept: list[KeptText] = []
        self._holding: Counter[str] = Counter()
        self._forms: Counter[tuple[str, str]] = Counter()

    def add(self, text: str) -> None:
        """Count a text, and keep it if it is drawn."""
        forms = {(word.stem, word.surface) for word in words_of(text, self._analyzer) if word.stem is not None}
        stems = sorted({stem for stem, _ in forms})
        self._forms.update(forms)
        self._holding.update(stems)
        _forget_rarest(self._forms)
        _forget_rarest(self._holding)
        self._texts += 1
        place = len(self._kept) if len(self._kept) < _TEXTS_KEPT else self._draw.randrange(self._texts)
        if place < _TEXTS_KEPT:
            self._kept[place : place + 1] = [KeptText(head_of(text), tuple(stems[:_STEMS_KEPT]))]

    def take_kept(self) -> list[KeptText]:
        """Hand over the sample; it is not kept here any longer."""
        kept, self._kept = self._kept, []
        return kept

    def rarity(self, stem: str) -> float:
        """`log(1 + texts / (texts that hold it + 0.5))`: above 0 for every stem, also where there are few texts."""
        return math.log1p(self._texts / (self._holding[stem] + 0.5))

    def common(self, least_texts: int, limit: int) -> list[str]:
        """The commonest stems, commonest first: those in at least so many texts, and at most `limit` of them."""
        ordered = sorted(self._holding, key=lambda stem: (-self._holding[stem], stem))
        return [stem for stem in ordered[:limit] if self._holding[stem] >= least_texts]

    def surfaces(self) -> dict[str, str]:
        """The commonest form of each stem."""
        return dict(sorted(self._forms, key=lambda form: (self._forms[form], form)))


def _forget_rarest(counts: Counter[Counted]) -> None:
    if len(counts) > _COUNTED:
        for key, _ in counts.most_common()[_COUNTED // 2 :]:
            del counts[key]
