"""What a language model is asked about a document. The document is data: nothing in it can end its own quotation."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from limiar.errors import ConfigurationError
from limiar.inputs import encodable
from limiar.keywords.expansion import PARTS
from limiar.keywords.prompt_texts import LANGUAGES, VERSION, Words
from limiar.selection import check_choice, check_count

Message = dict[str, str]
"""One message of a chat: `role` ("system", "user", "assistant") and `content`."""

_MOST_QUOTED = 1_000  # characters of a bad answer that are shown to the model again
_FIELD = re.compile(r"\{(keywords|synonyms|questions|language|parts|form)\}")
_MARKUP = re.compile(
    # our own and those of templates
    r"<(?=\s*(?:/\s*)?(?:documento?|think|s|start_of_turn|end_of_turn|bos|eos)\b[^<>\n]{0,20}>)"
    r"|<(?=<\s*(?:/\s*)?SYS\s*>>)|<(?=\|)|(?<=\|)>|\[(?=\s*(?:/\s*)?INST\s*\])",
    re.IGNORECASE,
)


_FORMS = {"keywords": [{"term": "...", "synonyms": ["...", "..."]}], "questions": ["..."], "statement": "..."}
_TEXTS = {"type": "array", "items": {"type": "string"}}


@dataclass(frozen=True)
class ExpansionPrompt:
    """The request for one document. Frozen, and known by its `fingerprint`.

    Args:
        language: of the prompt itself, "pt" or "en".
        keywords: at most so many terms, 0 for none, at most 50.
        synonyms: at most so many for a term, at most 20.
        questions: so many questions that the document answers (doc2query), 0 for none, at most 20.
        statement: whether the main point is to be rewritten.
        output_language: "pt", "en", or any language's name; None for the document's own.
        max_characters: of the document; what is longer is shortened at a word's end, and reported.
        instructions: a system message instead of limiar's. It may hold {keywords}, {synonyms}, {questions}, {language},
            {parts} and {form}, which are filled in. The document always follows in a message of its own, in quotation
            marks that its text cannot close.
        version: a name for your own prompt; shown with each entry of a store.

    Raises:
        ConfigurationError: a value is out of its range, or nothing is asked for.

    Example:
        >>> prompt = ExpansionPrompt("en", keywords=8, questions=3)
        >>> [message["role"] for message in prompt.messages("Public bids below a limit may be waived.")]
        ['system', 'user']
    """

    language: str = "pt"
    keywords: int = 10
    synonyms: int = 4
    questions: int = 0
    statement: bool = False
    output_language: str | None = None
    max_characters: int = 12_000
    instructions: str | None = None
    version: str = VERSION

    def __post_init__(self) -> None:
        check_choice("language", self.language, tuple(LANGUAGES))
        check_count("keywords", self.keywords, 0, 50)
        check_count("synonyms", self.synonyms, 0, 20)
        check_count("questions", self.questions, 0, 20)
        check_count("max_characters", self.max_characters, 100)
        for name, value in (
            ("output_language", self.output_language), ("instructions", self.instructions), ("version", self.version)
        ):  # fmt: skip
            if (value is not None or name == "version") and (not isinstance(value, str) or not value.strip()):
                msg = f"{name} is {'blank' if isinstance(value, str) else type(value).__name__}; expected text"
                raise ConfigurationError(msg)
        if not self.parts:
            msg = "keywords=0, questions=0 and statement=False ask for nothing; choose at least one"
            raise ConfigurationError(msg)

    @property
    def parts(self) -> tuple[str, ...]:
        """Those of "keywords", "questions" and "statement" that are asked for."""
        wanted = {"keywords": self.keywords, "questions": self.questions, "statement": self.statement}
        return tuple(part for part in PARTS if wanted[part])

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of all that can change the answer."""
        said = [self.system, self._quote(""), self.again("", "", "")[-1]["content"], self.max_characters]
        counts = [self.version, self.keywords, self.synonyms, self.questions, self.statement]
        return hashlib.sha256(json.dumps([said, counts]).encode()).hexdigest()

    def shortened(self, text: str) -> str:
        """The text, or its beginning to the end of a word within `max_characters`."""
        return shorten(text, self.max_characters)

    @cached_property
    def system(self) -> str:
        """The system message."""
        words = LANGUAGES[self.language]
        return self._filled(words.instructions if self.instructions is None else self.instructions)

    def messages(self, text: str) -> list[Message]:
        """The messages for a document, which is taken as it is: see `shortened`."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self._quote(text)}]

    def again(self, text: str, answer: str, reason: str) -> list[Message]:
        """The messages that tell the model why its answer is of no use."""
        words = LANGUAGES[self.language]
        complaint = self._filled(words.again).replace("{reason}", reason)
        quoted = encodable(answer[:_MOST_QUOTED]) or "(...)"
        return [
            *self.messages(text),
            {"role": "assistant", "content": quoted},
            {"role": "user", "content": complaint},
        ]

    def schema(self) -> dict[str, object]:
        """The JSON schema of the answer, for servers that hold a model to one."""
        keyword = {
            "type": "object",
            "properties": {"term": {"type": "string"}, "synonyms": {**_TEXTS, "maxItems": max(1, self.synonyms)}},
            "required": ["term", "synonyms"],
            "additionalProperties": False,
        }
        forms: dict[str, object] = {
            "keywords": {"type": "array", "items": keyword, "maxItems": max(1, self.keywords)},
            "questions": {**_TEXTS, "maxItems": max(1, self.questions)},
            "statement": {"type": "string"},
        }
        return {
            "type": "object",
            "properties": {part: forms[part] for part in self.parts},
            "required": list(self.parts),
            "additionalProperties": False,
        }

    def _quote(self, text: str) -> str:
        words = LANGUAGES[self.language]
        return f"<{words.tag}>\n{neutral(text)}\n</{words.tag}>\n\n{words.closing}"

    def _filled(self, template: str) -> str:
        """Only the known fields in braces are replaced, once: JSON in a template stays as it is."""
        words = LANGUAGES[self.language]
        values = {
            "keywords": str(self.keywords),
            "synonyms": str(self.synonyms),
            "questions": str(self.questions),
            "language": self._language(words),
            "form": json.dumps({part: _FORMS[part] for part in self.parts}, ensure_ascii=False),
        }
        lines = (f"- {_fill(words.parts[part], values)};" for part in self.parts)
        return _fill(template, {**values, "parts": "\n".join(lines)})

    def _language(self, words: Words) -> str:
        if self.output_language is None:
            return words.own_language
        return words.languages.get(self.output_language) or words.named_language.format(self.output_language)


def shorten(text: str, most: int) -> str:
    """The beginning of `text` in at most `most` characters, to the end of a word if there is one near."""
    if len(text) <= most:
        return text
    head = text[: most + 1]
    end = next((place for place in range(most, most * 3 // 4, -1) if head[place].isspace()), most)
    return head[:end].rstrip()


def neutral(text: str) -> str:
    """`text` as data: what would close its quotation, or begin a turn of the chat, loses its brackets."""
    return _MARKUP.sub(_harmless, encodable(text))


def _harmless(match: re.Match[str]) -> str:
    return {"<": "‹", ">": "›", "[": "("}[match.group()]


def _fill(template: str, values: dict[str, str]) -> str:
    return _FIELD.sub(lambda match: values.get(match[1], match[0]), template)


def characters(messages: Sequence[Message]) -> int:
    """How long the messages are together."""
    return sum(len(message["content"]) for message in messages)
