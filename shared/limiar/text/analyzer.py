"""One analysis for index and query text.

The order matters: NFC, lower case, tokens, stop words, Snowball stem, and only THEN accents are stripped. Stripping
accents first breaks Portuguese stems ("licitacao" and "licitacoes" would part ways).
"""

from __future__ import annotations

import re
import threading
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import Stemmer

from limiar.errors import ConfigurationError
from limiar.text.stopwords import STOPWORDS

LANGUAGES: dict[str, str] = {"pt": "portuguese", "en": "english"}

# The kinds of token, tried in this order at each place of an NFC, lower-case text.
_TOKEN = re.compile(
    r"""
      (?P<sign>n(?:\.?[º°]s?|\.(?:os?)?|[uú]meros?)\s*(?=\d)|(?:r|us)\$)   # "nº 8", "n. 8", "número 8"; "R$"
    | (?P<article>art(?:igo|icle)?s?\.?\s*\d+(?:\.\d{3})*(?:\.?[ºo°])?(?:-[a-z])?(?!\w))
    | (?P<paragraph>§+\s*\d+(?:\.?[ºo°])?(?!\w))
    | (?P<date>\d{4}-\d{2}-\d{2}(?!\w)|\d{1,2}/\d{1,2}/(?:\d{4}|\d{2})(?![\w/]))
    | (?P<number>(?:\d+(?:\.\d+)*(?:/\d+)+|\d+(?:[.,]\d+)*)(?![./]\d)(?:\.?[ºª°])?(?!\w))
    | (?P<technical>[^\W_ºª]+(?:[+\#]+(?!\w)|(?:[-._][^\W_ºª]+)+))
    | (?P<word>[^\W_ºª]+)
    """,
    re.VERBOSE,
)
_DATE = re.compile(r"(?P<day>\d{1,2})/(?P<month>\d{1,2})/(?P<year>\d+)")
_LAW = re.compile(r"(?P<number>\d+|\d{1,3}(?:\.\d{3})+)/(?P<year>\d{4}|\d{2})")
_ADDRESS = re.compile(r"(?:\d{1,2}|1\d\d|2[0-4]\d|25[0-5])(?:\.(?:\d{1,2}|1\d\d|2[0-4]\d|25[0-5])){3}")
_NETWORK = re.compile(rf"(?P<address>{_ADDRESS.pattern})/\d{{1,2}}")
_GROUPED_BY_DOTS = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+")
_GROUPED_BY_COMMAS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")
_LONGEST_CACHED = 64

_UNACCENTED_ENDINGS = (
    ("coes", "ções"), ("soes", "sões"), ("oes", "ões"), ("cao", "ção"), ("ao", "ão"), ("aos", "ãos"),
    ("encia", "ência"), ("encias", "ências"), ("ancia", "ância"), ("ancias", "âncias"),
    ("avel", "ável"), ("aveis", "áveis"), ("ivel", "ível"), ("iveis", "íveis"),
    ("orio", "ório"), ("orios", "órios"), ("ario", "ário"), ("arios", "ários"), ("aria", "ária"), ("arias", "árias"),
    ("quido", "quido"), ("quida", "quida"),
    ("uido", "uído"), ("uidos", "uídos"), ("uida", "uída"), ("uidas", "uídas"),
)  # fmt: skip


def strip_accents(text: str) -> str:
    """Remove combining marks: "licitação" gives "licitacao"."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(c for c in decomposed if not unicodedata.combining(c))


# Stop words typed without their accents are stop words too; "há" is not, for "HA" is a topic.
_STOPWORDS = {
    language: words | {strip_accents(word) for word in words if len(word) > 2} for language, words in STOPWORDS.items()
}


@dataclass(frozen=True)
class Analyzer:
    """Turns text into index terms, the same way for documents and queries.

    Args:
        language: "pt" or "en". A parameter, never a guess.

    Raises:
        ConfigurationError: the language is not supported.

    Example:
        >>> Analyzer("pt")("As licitações da Lei nº 8.666/93, art. 37, § 6º")
        ['licit', 'lei', '8666', '8666/1993', 'art.37', '§6']
    """

    language: str = "pt"

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            expected = ", ".join(sorted(LANGUAGES))
            msg = f"language={self.language!r} is not supported; choose one of: {expected}"
            raise ConfigurationError(msg)

    def __call__(self, text: str) -> list[str]:
        """The terms of `text` in order, duplicates kept; an empty list where nothing but stop words is left."""
        terms: list[str] = []
        for match in _TOKEN.finditer(unicodedata.normalize("NFC", text).lower()):
            token = match.group()
            analyze = _terms if len(token) <= _LONGEST_CACHED else _terms.__wrapped__
            terms.extend(analyze(str(match.lastgroup), token, self.language))
        return terms


@lru_cache(maxsize=100_000)
def _terms(kind: str, token: str, language: str) -> tuple[str, ...]:
    """The index terms of one token: none for a stop word, more than one where a part is worth finding alone."""
    if kind == "word":
        return _word_terms(token, language)
    if kind == "technical":
        return _technical_terms(token, language)
    if kind == "number":
        return _number_terms(token, language)
    if kind == "date":
        return _date_terms(token)
    if kind == "article":
        number = "".join(re.findall(r"\d+|-[a-z]$", token))
        return (f"art.{number}",)
    if kind == "paragraph":
        return ("§" + "".join(re.findall(r"\d", token)),)
    return ()


def _word_terms(word: str, language: str) -> tuple[str, ...]:
    if word in _STOPWORDS[language]:
        return ()
    accented = _restore_accents(word) if language == "pt" and word.isascii() else word
    return (strip_accents(_stem(accented, language)),)


def _technical_terms(token: str, language: str) -> tuple[str, ...]:
    """The whole token, and its parts that are words: "ms-marco" is found by "marco", "v1.28" by nothing less."""
    terms = [strip_accents(token)]
    for part in re.split(r"[-._+#]", token):
        if len(part) > 1 and part.isalpha() and part != token.rstrip("+#"):
            terms.extend(_word_terms(part, language))
    return tuple(terms)


def _number_terms(token: str, language: str) -> tuple[str, ...]:
    """A number as one term: "1.234,56" is 1234.56; "8.666/93" is 8666 and 8666/1993; "10.0.0.1" stays whole."""
    token = token.rstrip("ºª°.")
    network = _NETWORK.fullmatch(token)
    if network:
        return network["address"], token
    law = _LAW.fullmatch(token)
    if law and not _is_day_and_month(law["number"], law["year"]):
        number = _plain(law["number"].replace(".", ""))
        return number, f"{number}/{_four_digit_year(law['year'])}"
    return tuple(term for part in token.split("/") for term in _decimal_terms(part, language))


def _decimal_terms(token: str, language: str) -> tuple[str, ...]:
    if language == "en" and _GROUPED_BY_COMMAS.fullmatch(token):
        return (_without_zero_cents(token.replace(",", "")),)
    whole, comma, decimals = token.partition(",")
    grouped = _GROUPED_BY_DOTS.fullmatch(whole) is not None
    if comma and decimals.isdigit() and (grouped or whole.isdigit()):
        return (_without_zero_cents(f"{whole.replace('.', '')}.{decimals}"),)
    if comma:
        return tuple(term for part in token.split(",") for term in _decimal_terms(part, language))
    if grouped and not _ADDRESS.fullmatch(whole):
        return (whole.replace(".", ""),)
    return (_plain(whole) if whole.isdigit() else whole,)


def _date_terms(token: str) -> tuple[str, ...]:
    """The day with two digits of the year, so that "12/05/1938" and "12/5/38" share it; then a year in full."""
    date = _DATE.fullmatch(token)
    if date is None:
        return token, token[:4]
    short = f"{date['day']:0>2}/{date['month']:0>2}/{date['year'][-2:]}"
    return (short, date["year"]) if len(date["year"]) == 4 else (short,)


def _is_day_and_month(number: str, year: str) -> bool:
    return len(year) == 2 and int(year) <= 12 and len(number) <= 2 and int(number) <= 31


def _four_digit_year(year: str) -> str:
    if len(year) == 4:
        return year
    return f"19{year}" if int(year) >= 40 else f"20{year}"


def _plain(digits: str) -> str:
    return digits.lstrip("0") or "0"


def _without_zero_cents(number: str) -> str:
    whole, _, decimals = number.partition(".")
    return number if decimals.strip("0") else whole


def _restore_accents(word: str) -> str:
    """Portuguese typed without accents: "licitacao" is stemmed as "licitação"."""
    for bare, accented in _UNACCENTED_ENDINGS:
        if word.endswith(bare):
            return word[: -len(bare)] + accented
    return word


_local = threading.local()


def _stem(word: str, language: str) -> str:
    """PyStemmer's objects are not thread-safe: each thread has its own."""
    stemmers: dict[str, Stemmer.Stemmer] | None = getattr(_local, "stemmers", None)
    if stemmers is None:
        stemmers = _local.stemmers = {}
    if language not in stemmers:
        stemmers[language] = Stemmer.Stemmer(LANGUAGES[language])
    return str(stemmers[language].stemWord(word))
