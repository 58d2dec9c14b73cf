"""Reads what a language model answered: JSON or lists of many forms, and nothing that is junk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from limiar.errors import ExpansionParseError
from limiar.inputs import encodable
from limiar.keywords.cleaning import is_placeholder, key_of, looped, sentence_of, term_of, unlooped
from limiar.keywords.expansion import Expansion, Keyword
from limiar.keywords.loose_json import find_json
from limiar.keywords.prompts import ExpansionPrompt

LONGEST_ANSWER = 100_000
"""Characters of an answer that are read; no honest one is as long."""

_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_REFUSAL = re.compile(
    r"\b(?:i['’]?m sorry|i am sorry|i apologi[sz]e|as an ai|i (?:can(?:no|['’])?t|am unable|won['’]t)\b|"
    r"unable to (?:help|assist|comply|process)|"
    r"(?:me )?desculpe|sinto muito|lamento|como (?:um |uma )?(?:modelo de linguagem|ia\b|intelig[eê]ncia artificial)|"
    r"n[aã]o (?:posso|consigo|poderei|é possível) (?:\w+ )?(?:ajudar|atender|responder|fazer|realizar|gerar|fornecer|"
    r"processar|cumprir|auxiliar|continuar))",
    re.IGNORECASE,
)
_NAMES = {
    "keywords": "keywords",
    "keyword": "keywords",
    "key words": "keywords",
    "palavras-chave": "keywords",
    "palavras chave": "keywords",
    "termos": "keywords",
    "terms": "keywords",
    "questions": "questions",
    "perguntas": "questions",
    "statement": "statement",
    "enunciado": "statement",
    "enunciado reescrito": "statement",
}
_TERM_NAMES = ("term", "termo", "keyword", "palavra", "palavra-chave", "name", "nome")
_SYNONYM_NAMES = ("synonyms", "sinonimos", "sinónimos", "sinônimos", "synonym", "sinônimo", "sinonimo")
_BULLET = re.compile(r"^\s*(?:[-*•–—▪·]|\(?\d{1,3}[.):]\)?|\(?[a-z]\))\s+", re.IGNORECASE)
_PAIR = re.compile(r"\s*(?::|=>|->|→|=|\s[-–—]\s)\s*")
_MEMBER = re.compile(r"""["'][^"']*["']\s*:""")  # of JSON that could not be read, or of another form
_MOST_WORDS_IN_LINE = 6
_IN_BRACKETS = re.compile(r"^(?P<term>[^()\[\]]{2,80}?)\s*[(\[](?P<rest>[^()\[\]]+)[)\]]\s*[.;]?$")
_BETWEEN = re.compile(r"\s*[,;|/]\s*")


def parse_expansion(answer: str, prompt: ExpansionPrompt, *, cut: bool = False) -> Expansion:
    """The expansion in an answer.

    Terms are at most 8 words and 80 characters; duplicates (whatever their case and accents), stop words, sentences,
    copies of the prompt's example and repetitions are left out. The answer is read in time linear to its length.

    Args:
        answer: the model's text.
        prompt: what was asked for: only its parts are read, and no more of each than it says.
        cut: whether the answer ended because it was too long: its last item may be half a word.

    Raises:
        ExpansionParseError: it is empty, a refusal, or lacks a part; `partial` holds what there is.
    """
    text = _THOUGHT.sub("", encodable(answer[:LONGEST_ANSWER]).replace("\x00", "")).strip()
    if not text:
        msg = "the answer is empty"
        raise ExpansionParseError(msg, reason="empty", answer=answer)
    value = find_json(text)
    raw = _of_json(value)
    if not raw.has(prompt.parts):
        raw = _of_lines(text, prompt, cut=cut)
    found = _cleaned(raw, prompt)
    if _refuses(text, found, is_json=value is not None):
        msg = "the answer is a refusal"
        raise ExpansionParseError(msg, reason="refusal", answer=answer)
    missing = [part for part in prompt.parts if not getattr(found, part)]
    if missing:
        reason = "missing" if found else "form"
        msg = f"the answer holds no {' and no '.join(missing)}"
        raise ExpansionParseError(msg, reason=reason, answer=answer, partial=found or None)
    return found


def _refuses(text: str, found: Expansion, *, is_json: bool) -> bool:
    if _REFUSAL.search(found.statement):
        return True
    if len(found.keywords) > 1 or found.questions:
        return False
    return _REFUSAL.search(text[:400]) is not None and not (is_json and found)


_Pair = tuple[str, list[str]]


@dataclass
class _Raw:
    """What was found, not yet cleaned. A keyword is a term with its synonyms."""

    keywords: list[_Pair] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    statement: list[str] = field(default_factory=list)

    def has(self, parts: Iterable[str]) -> bool:
        return any(getattr(self, part) for part in parts)


def _of_json(value: object) -> _Raw:
    """The parts of a JSON value: an object with our names or others for them, one of terms, or a list of keywords."""
    if isinstance(value, list):
        return _Raw(keywords=list(_pairs(value)))
    raw = _Raw()
    if not isinstance(value, dict):
        return raw
    named = {part: item for name, item in value.items() if (part := _NAMES.get(name.strip().lower()))}
    if not named and all(_is_strings(item) for item in value.values()):
        raw.keywords = list(_pairs([value]))
    for part, item in named.items():
        items = item if isinstance(item, list) else [item]
        if part == "keywords":
            raw.keywords = list(_pairs(items))
        else:
            setattr(raw, part, [text for text in items if isinstance(text, str)])
    return raw


def _pairs(items: Iterable[object]) -> Iterator[_Pair]:
    for item in items:
        if isinstance(item, str):
            yield _pair(item)
        elif isinstance(item, list) and item and isinstance(item[0], str):
            yield item[0], _strings(item[1:])
        elif isinstance(item, dict):
            yield from _object_pairs(item)


def _object_pairs(item: Mapping[str, object]) -> Iterator[_Pair]:
    names = {name.strip().lower(): value for name, value in item.items()}
    term = next((names[name] for name in _TERM_NAMES if isinstance(names.get(name), str)), None)
    if isinstance(term, str):
        yield term, _strings([names[name] for name in _SYNONYM_NAMES if name in names])
        return
    for name, value in item.items():
        if isinstance(value, list) or (isinstance(value, str) and name.strip().lower() not in _SYNONYM_NAMES):
            yield name, _strings([value])


def _is_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _strings(items: Iterable[object]) -> list[str]:
    found: list[str] = []
    for item in items:
        if isinstance(item, str):
            found.extend(_BETWEEN.split(item) if len(item) > 40 else [item])
        elif isinstance(item, list):
            found.extend(text for text in item if isinstance(text, str))
    return found


def _of_lines(text: str, prompt: ExpansionPrompt, *, cut: bool) -> _Raw:
    """The parts of an answer in lines: under headings, or of the first kind that was asked for."""
    raw = _Raw()
    part, headed = prompt.parts[0], False
    lines = text.splitlines()
    for number, line in enumerate(lines):
        bare = line.replace("**", "").replace("__", "").replace("`", "").strip()
        heading, rest = _heading(bare)
        if heading:
            part, headed, bare = heading, True, rest
        if not bare or bare[0] in "{}[]<" or _MEMBER.match(bare):
            continue
        bulleted = _BULLET.match(bare) is not None
        item = _BULLET.sub("", bare)
        last = cut and number == len(lines) - 1
        if part == "keywords":
            _add_keywords(raw.keywords, item, bulleted=bulleted, headed=headed, cut=last)
        elif part == "questions" and item.endswith("?") and not last:
            raw.questions.append(item)
        elif part == "statement" and headed and not last:
            raw.statement.append(item)
    if not headed and len(raw.keywords) < min(2, prompt.keywords):
        raw.keywords = []  # one line with a colon is prose
    return raw


def _heading(line: str) -> tuple[str | None, str]:
    name, colon, rest = line.lstrip("# ").partition(":")
    part = _NAMES.get(_BULLET.sub("", name).strip(' "').lower())
    if part and (colon or line.startswith("#")):
        return part, rest.strip()
    return None, line


def _add_keywords(pairs: list[_Pair], item: str, *, bulleted: bool, headed: bool, cut: bool) -> None:
    term, synonyms = _pair(item)
    if cut:
        synonyms = synonyms[:-1]
    if any(len(one.split()) > _MOST_WORDS_IN_LINE for one in (term, *synonyms)):
        return  # prose
    name = term.strip(' "').lower()
    if name in _SYNONYM_NAMES and pairs:
        known, others = pairs[-1]
        pairs[-1] = (known, [*others, *synonyms])
    elif name in _TERM_NAMES and synonyms:
        pairs.append((synonyms[0], synonyms[1:]))
    elif synonyms:
        pairs.append((term, synonyms))
    elif cut or item.endswith(":"):
        return
    elif headed and not bulleted and (several := _BETWEEN.split(item))[1:]:
        pairs.extend((one, []) for one in several)
    elif bulleted or headed:
        pairs.append((term, []))


def _pair(item: str) -> _Pair:
    """A line such as "termo: sin1, sin2", "termo: [a, b]", "termo - a, b", "termo (a, b)", or a term alone."""
    if (brackets := _IN_BRACKETS.match(item)) and ":" not in brackets["term"]:
        return brackets["term"], _BETWEEN.split(brackets["rest"].strip())
    term, *rest = _PAIR.split(item, maxsplit=1)
    if not rest or not rest[0]:
        return term if rest else item, []
    listed = rest[0].strip().strip("[](){}").rstrip(".;")
    return term, [one for one in _BETWEEN.split(listed) if one]


# Cleaning


def _cleaned(raw: _Raw, prompt: ExpansionPrompt) -> Expansion:
    statement = " ".join(raw.statement) if prompt.statement else ""
    return Expansion(
        _keywords(raw.keywords, prompt), _questions(raw.questions, prompt.questions), unlooped(sentence_of(statement))
    )


def _keywords(pairs: Sequence[_Pair], prompt: ExpansionPrompt) -> tuple[Keyword, ...]:
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for term, synonyms in pairs:
        if is_placeholder(term) or not (clean := term_of(term)):
            continue
        key = key_of(clean)
        if key not in found and len(found) == prompt.keywords:
            continue
        _, others = found.setdefault(key, (clean, {}))
        for synonym in synonyms[: 4 * prompt.synonyms]:
            if len(others) == prompt.synonyms:
                break
            other = "" if is_placeholder(synonym) else term_of(synonym)
            if other and (other_key := key_of(other)) != key:
                others.setdefault(other_key, other)
    return tuple(Keyword(term, tuple(others.values())) for term, others in found.values())


def _questions(items: Sequence[str], most: int) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for item in items:
        question = sentence_of(_BULLET.sub("", item))
        if 8 <= len(question) <= 300 and " " in question and not looped(question) and not _REFUSAL.search(question):
            found.setdefault(key_of(question), question)
    return tuple(found.values())[:most]
