"""Which words of a model's answer are terms, and which are junk."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from limiar.text.analyzer import strip_accents
from limiar.text.stopwords import STOPWORDS

MOST_WORDS = 8
LONGEST_TERM = 80
LONGEST_STATEMENT = 1_000
_LONGEST_READ = 4 * LONGEST_STATEMENT

_STOPWORDS = {form for words in STOPWORDS.values() for word in words for form in (word, strip_accents(word))}
_EDGES = " \t\"'“”‘’«»`*_.,;:!?-–—•|\\"
_WORD = re.compile(r"[^\W_]+")
_PLACEHOLDER = re.compile(
    r"\W*(?:\.\.\.|…|(?:term|termo|syn|sin|synonym|synonyms|sin[oôó]nimos?|keywords?|palavras?-chave|question|pergunta|"
    r"string|example|exemplo|null|none|n/a|nenhum|nenhuma|json|form)[ _]?\d*)\W*",
    re.IGNORECASE,
)
_SENTENCES = re.compile(r"(?<=[.!?])\s+")


def term_of(text: str) -> str:
    """A search term without quotation marks and bullets; "" where it is a sentence, a stop word, a loop or no word."""
    if len(text) > 4 * LONGEST_TERM:
        return ""
    term = " ".join(unicodedata.normalize("NFC", text).split())
    is_sentence = term.endswith("?") or (term.endswith((".", "!")) and len(term.split()) > 4)
    term = term.strip(_EDGES)
    words = _WORD.findall(term)
    if is_sentence or not 2 <= len(term) <= LONGEST_TERM or not 1 <= len(words) <= MOST_WORDS:
        return ""
    if all(word.lower() in _STOPWORDS for word in words) and not term.isupper():
        return ""
    return "" if _loops(words) else term


def sentence_of(text: str) -> str:
    """A question or statement on one line, without quotation marks around it."""
    if len(text) > _LONGEST_READ:
        text = text[: text.rfind(". ", 0, _LONGEST_READ) + 1] or text[:_LONGEST_READ]
    line = " ".join(unicodedata.normalize("NFC", text).split()).strip("\"'“”«»`* ")
    return "" if is_placeholder(line) else line


def key_of(text: str) -> str:
    """The same for texts that differ in case, accents and spaces only."""
    return " ".join(strip_accents(text).casefold().split())


def is_placeholder(text: str) -> bool:
    """Whether it is a copy of the prompt's example, or a word for nothing."""
    return _PLACEHOLDER.fullmatch(text.strip()) is not None if len(text) < LONGEST_TERM else False


def looped(text: str) -> bool:
    """Whether a small model has run round in a circle: one word three times on end, or few words over and over."""
    return _loops(_WORD.findall(text))


def _loops(words: Sequence[str]) -> bool:
    if len(words) < 3:
        return False
    words = [word.casefold() for word in words]
    if any(one == two == three for one, two, three in zip(words, words[1:], words[2:], strict=False)):
        return True
    return len(words) >= 6 and len(set(words)) * 2 <= len(words)


def unlooped(statement: str) -> str:
    """The statement with each of its sentences once, within its longest length; "" if one of them is a loop itself."""
    sentences = dict.fromkeys(_SENTENCES.split(statement))
    kept: list[str] = []
    for sentence in sentences:
        if looped(sentence) and len(_WORD.findall(sentence)) < 40:
            break
        if sum(map(len, kept)) + len(sentence) > LONGEST_STATEMENT:
            break
        kept.append(sentence)
    return " ".join(kept)
