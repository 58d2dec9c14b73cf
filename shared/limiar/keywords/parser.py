"""Reads what a language model answered: JSON or lists of many forms, and nothing that is junk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from limiar.errors import ExpansionParseError
from limiar.inputs import encodable
from limiar.keywords.cleaning import is_placeholder, key_of, looped, sentence_of, term_of, unlooped
from limiar.keywords.expansion import Expansion, Keyword
from limiar.keywords.keyword_lines import (
    BULLET,
    KeywordLines,
    Pair,
    is_synonyms_name,
    is_term_name,
    pair_of,
    plain_name,
    terms_in,
)
from limiar.keywords.loose_json import find_json
from limiar.keywords.prompts import ExpansionPrompt

LONGEST_ANSWER = 100_000
"""Characters of an answer that are read; no honest one is as long."""

_THINKING = r"(?:think(?:ing)?|thought|reasoning)>"
_THOUGHT = re.compile(rf"<{_THINKING}.*?(?:</{_THINKING}|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = re.compile(rf"</{_THINKING}", re.IGNORECASE)  # some servers send the end of the thoughts alone
_MARK = re.compile(r"<\|[^<>|\n]{1,40}\|>|</?s>|<(?:end_of_turn|eos|bos)>")
_UNABLE = (
    r"i (?:can(?:no|['’])?t|am unable|won['’]t)\b|i['’]m unable|unable to (?:help|assist|comply|process)|"
    r"n[aã]o (?:posso|consigo|poderei|é possível) (?:\w+ )?(?:ajudar|atender|responder|fazer|realizar|gerar|fornecer|"
    r"processar|cumprir|auxiliar|continuar)"
)
_REFUSAL = re.compile(
    rf"\b(?:{_UNABLE}|i['’]?m sorry|i am sorry|i apologi[sz]e|as an ai|"
    r"(?:me )?desculpe|sinto muito|lamento|como (?:um |uma )?(?:modelo de linguagem|ia\b|intelig[eê]ncia artificial))",
    re.IGNORECASE,
)
_OPENING_REFUSAL = re.compile(rf"\b(?:{_UNABLE})|^(?:infelizmente|unfortunately)\b", re.IGNORECASE)
_NAMES = {
    "keywords": "keywords",
    "keyword": "keywords",
    "key words": "keywords",
    "palavras-chave": "keywords",
    "palavras chave": "keywords",
    "palavraschave": "keywords",
    "termos": "keywords",
    "terms": "keywords",
    "questions": "questions",
    "perguntas": "questions",
    "statement": "statement",
    "enunciado": "statement",
    "enunciado reescrito": "statement",
}
_SECTION = re.compile(r"(?:palavras[- ]chave|keywords|termos|terms|perguntas|questions|enunciado|statement)\b")
_OTHER_TERM_NAMES = frozenset({"word", "phrase", "text", "texto", "label", "expressão", "expression"})
_LONG = 40  # characters, from which on one synonym is rather several
_MEMBER = re.compile(r"""["'][^"']*["']\s*:""")  # of JSON that could not be read, or of another form


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
    text = _said(encodable(answer[:LONGEST_ANSWER]).replace("\x00", ""))
    if not text.strip():
        msg = "the answer is empty"
        raise ExpansionParseError(msg, reason="empty", answer=answer)
    values = find_json(text)
    raw = _of_values(values)
    if not raw.has(prompt.parts) or all(map(_is_strings, values)):
        lines = _of_lines(text, prompt, cut=cut)  # such as: termo: ["sin1", "sin2"]
        raw = raw if raw.has(prompt.parts) and sum(bool(synonyms) for _, synonyms in lines.keywords) < 2 else lines
    found = _cleaned(raw, prompt)
    if _refuses(text.strip(), found, is_json=bool(values)):
        msg = "the answer is a refusal"
        raise ExpansionParseError(msg, reason="refusal", answer=answer)
    missing = [part for part in prompt.parts if not getattr(found, part)]
    if missing:
        reason = "missing" if found else "form"
        msg = f"the answer holds no {' and no '.join(missing)}"
        raise ExpansionParseError(msg, reason=reason, answer=answer, partial=found or None)
    return found


def _said(answer: str) -> str:
    """The answer without the model's thoughts and without the marks of chat templates."""
    text = _THOUGHT.sub("", answer)
    return _MARK.sub("\n", _THOUGHT_END.split(text)[-1])


def _refuses(text: str, found: Expansion, *, is_json: bool) -> bool:
    if _REFUSAL.search(found.statement):
        return True
    opening = text.partition("\n")[0][:400]
    if not is_json and not BULLET.match(opening) and _OPENING_REFUSAL.search(opening):
        return True  # a list that follows gives reasons
    if len(found.keywords) > 1 or found.questions:
        return False
    return _REFUSAL.search(text[:400]) is not None and not (is_json and found)


@dataclass
class _Raw:
    """What was found, not yet cleaned. A keyword is a term with its synonyms."""

    keywords: list[Pair] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    statement: list[str] = field(default_factory=list)

    def has(self, parts: Iterable[str]) -> bool:
        return any(getattr(self, part) for part in parts)


def _of_values(values: Sequence[object]) -> _Raw:
    """The parts of all values of our form together, as a copy of the prompt's may come first; else of the first."""
    raw = _Raw()
    for value in [value for value in values if _is_ours(value)] or values[:1]:
        one = _of_json(value)
        raw.keywords += one.keywords
        raw.questions += one.questions
        raw.statement = raw.statement or [text for text in one.statement if not is_placeholder(text)]
    return raw


def _of_json(value: object) -> _Raw:
    """The parts of a JSON value: an object with our names or others for them, one of terms, or a list of keywords."""
    if isinstance(value, list):
        return _Raw(keywords=list(_pairs(value)))
    raw = _Raw()
    if not isinstance(value, dict):
        return raw
    named = _named(value)
    if not named.keys() - {"keywords"} and _term_of_record(value) and any(map(is_synonyms_name, value)):
        return _Raw(keywords=list(_pairs([value])))
    if not named:
        inner = (_named(item) for item in value.values() if isinstance(item, dict))
        named = next((parts for parts in inner if isinstance(parts.get("keywords", []), list)), {})
    if not named and all(_is_strings(item) for item in value.values()):
        raw.keywords = list(_pairs([value]))
    for part, item in named.items():
        items = item if isinstance(item, list) else [item]
        if part == "keywords":
            raw.keywords = list(_terms(item))
        else:
            setattr(raw, part, [text for text in map(_question, items) if text])
    return raw


def _is_ours(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    inner = (item for item in value.values() if isinstance(item, dict))
    return bool(_named(value)) or any(map(is_synonyms_name, value)) or any(map(_named, inner))


def _named(value: Mapping[str, object]) -> dict[str, object]:
    return {part: item for name, item in value.items() if (part := _NAMES.get(plain_name(name)))}


def _question(item: object) -> str:
    if isinstance(item, dict):
        item = next((item[name] for name in ("question", "pergunta") if name in item), None)
    return item if isinstance(item, str) else ""


def _terms(item: object) -> Iterator[Pair]:
    """The keywords of a member: a list, one object of terms, or an enumeration."""
    if isinstance(item, dict) and not _term_of_record(item):
        if all(isinstance(value, str | list) for value in item.values()):
            yield from ((name, _strings(value)) for name, value in item.items())
    elif isinstance(item, str):
        yield from ((term, []) for term in terms_in(item))
    else:
        yield from _pairs(item if isinstance(item, list) else [item])


def _pairs(items: Iterable[object]) -> Iterator[Pair]:
    for item in items:
        if isinstance(item, str):
            yield pair_of(BULLET.sub("", item))
        elif isinstance(item, list) and item and isinstance(item[0], str):
            yield item[0], [text for one in item[1:] for text in _strings(one)]
        elif isinstance(item, dict):
            yield from _object_pairs(item)


def _object_pairs(item: Mapping[str, object]) -> Iterator[Pair]:
    if term := _term_of_record(item):
        yield term, [text for name, value in item.items() if is_synonyms_name(name) for text in _strings(value)]
    elif len(item) == 1 or all(_is_strings(value) for value in item.values()):  # else its names are no terms
        for name, value in item.items():
            if isinstance(value, str | list) and not is_synonyms_name(name):
                yield name, _strings(value)


def _term_of_record(item: Mapping[str, object]) -> str:
    """The term of an object such as {"term": ..., "synonyms": ...}; "" if it is none."""
    for name, value in item.items():
        plain = plain_name(name)
        if isinstance(value, str) and (plain in _OTHER_TERM_NAMES or (is_term_name(plain) and plain[-1].isalpha())):
            return value
    return ""


def _is_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return terms_in(value)
    texts = [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
    return [term for text in texts for term in (terms_in(text) if len(text) > _LONG else [text])]


def _of_lines(text: str, prompt: ExpansionPrompt, *, cut: bool) -> _Raw:
    """The parts of an answer in lines: under headings, or of the first kind that was asked for."""
    raw = _Raw()
    keywords = KeywordLines()
    part, headed = prompt.parts[0], False
    lines = text.splitlines()
    for number, line in enumerate(lines):
        bare = line.replace("**", "").replace("__", "").replace("`", "").strip()
        heading, rest = _heading(bare)
        if heading:
            part, headed, bare = heading, True, rest
        if not bare or bare[0] in "{}[]<" or _MEMBER.match(bare):
            continue
        item = BULLET.sub("", bare)
        last = cut and number == len(lines) - 1
        if part == "keywords":
            indent = len(line[: -len(line.lstrip())].expandtabs(4))
            keywords.add(bare, indent=indent, headed=headed, cut=last)
        elif part == "questions" and item.endswith("?") and not last:
            raw.questions.append(item)
        elif part == "statement" and headed and not last:
            raw.statement.append(item)
    if headed or len(keywords.pairs) >= min(2, prompt.keywords):  # one line with a colon is prose
        raw.keywords = keywords.pairs
    return raw


def _heading(line: str) -> tuple[str | None, str]:
    name, colon, rest = line.lstrip("# ").partition(":")
    name, rest, bulleted = plain_name(BULLET.sub("", name)), rest.strip(" *"), BULLET.match(line) is not None
    marked = bool(colon) or line.startswith("#")
    if (part := _NAMES.get(name)) and (marked or not bulleted):
        return part, rest
    if marked and not rest and (section := _SECTION.match(name)):
        return _NAMES[section.group()], ""
    return None, line


# Cleaning


def _cleaned(raw: _Raw, prompt: ExpansionPrompt) -> Expansion:
    statement = " ".join(raw.statement) if prompt.statement else ""
    return Expansion(
        _keywords(raw.keywords, prompt), _questions(raw.questions, prompt.questions), unlooped(sentence_of(statement))
    )


def _keywords(pairs: Sequence[Pair], prompt: ExpansionPrompt) -> tuple[Keyword, ...]:
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
        question = sentence_of(BULLET.sub("", item))
        if 8 <= len(question) <= 300 and " " in question and not looped(question) and not _REFUSAL.search(question):
            found.setdefault(key_of(question), question)
    return tuple(found.values())[:most]
