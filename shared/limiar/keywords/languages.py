"""Checks, and only that, of an answer against its document: they speak up when the case is clear."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from itertools import islice

from limiar.keywords.expansion import Expansion
from limiar.text.analyzer import strip_accents
from limiar.text.stopwords import STOPWORDS

_NAMES = {"pt": "Portuguese", "en": "English"}
_NOT_LATIN = re.compile(r"[^\W\d_a-zA-ZÀ-ɏºª]")
_WORD = re.compile(r"[^\W\d_]+")
_ONLY = {
    language: words - set().union(*(others for other, others in STOPWORDS.items() if other != language))
    for language, words in STOPWORDS.items()
}
_FUNCTION_WORDS = frozenset(
    form for words in STOPWORDS.values() for word in words for form in (word, strip_accents(word))
)
_BEGINNING = 5  # letters, in which the forms of a word seldom differ
_CLEAR = 3  # function words of one language, and none of the other
_ENOUGH_WORDS = 25
_LOOKED_AT = 5_000  # characters


def wrong_language(expansion: Expansion, text: str, wanted: str | None) -> str | None:
    """Why the expansion is clearly in another language than `wanted`, or than the document `text`; None if it is not.

    Two things are clear: another script, and function words of Portuguese where English is expected or the reverse. A
    short list of keywords without function words is never refused, and neither are languages between which the two
    lists cannot tell.
    """
    written = _words_of(expansion)
    expected = wanted if wanted in STOPWORDS else None
    if wanted is None:
        script, answered = _script(text), _script(written)
        if script and answered and script != answered:
            return f"it is written in {answered.title()} script"
    elif expected and (script := _script(written)) not in (None, "LATIN"):
        return f"it is written in {str(script).title()} script"
    answered_in = _clear_language(written)
    if answered_in and wanted is None:
        expected = _clear_language(text)
    if expected and answered_in and answered_in != expected:
        return f"it is in {_NAMES[answered_in]}, not in {_NAMES[expected]}"
    return None


def unrelated(expansion: Expansion, text: str) -> bool:
    """Whether no word of the expansion begins like one of the document, which is long enough for that to mean much."""
    if sum(1 for _ in islice(_WORD.finditer(text[:_LOOKED_AT]), _ENOUGH_WORDS)) < _ENOUGH_WORDS:
        return False
    said = _words_of(expansion)
    if _share_a_word(said.lower(), text.lower()):
        return False
    return not _share_a_word(strip_accents(said.lower()), strip_accents(text.lower()))


def _share_a_word(said: str, text: str) -> bool:
    words = (found.group() for found in _WORD.finditer(said))
    return any(word[:_BEGINNING] in text for word in words if word not in _FUNCTION_WORDS)


def _words_of(expansion: Expansion) -> str:
    terms = [word for keyword in expansion.keywords for word in (keyword.term, *keyword.synonyms)]
    return " ".join([*terms, *expansion.questions, expansion.statement])


def _clear_language(text: str) -> str | None:
    words = Counter(_WORD.findall(text[:_LOOKED_AT].lower()))
    counts = {language: sum(words[word] for word in words.keys() & only) for language, only in _ONLY.items()}
    best = max(counts, key=lambda language: counts[language])
    others = sum(counts.values()) - counts[best]
    return best if counts[best] >= _CLEAR and counts[best] >= 5 * others else None


def _script(text: str) -> str | None:
    """The script of most letters: "LATIN", "CYRILLIC", "CJK"; None without letters."""
    read = text[:_LOOKED_AT]
    if not _NOT_LATIN.search(read):
        return "LATIN" if _WORD.search(read) else None
    counts: dict[str, int] = {}
    for character in read:
        if character.isalpha():
            name = unicodedata.name(character, "?").partition(" ")[0]
            counts[name] = counts.get(name, 0) + 1
    best = max(counts, key=lambda name: counts[name], default=None)
    return best if best is not None and counts[best] * 5 >= sum(counts.values()) * 4 else None
