"""What a store of expansions holds: recipes, outcomes and entries."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

from limiar.inputs import encodable
from limiar.keywords.expansion import Expansion

if TYPE_CHECKING:
    from limiar.keywords.chat import ChatModel
    from limiar.keywords.prompts import ExpansionPrompt

Status = Literal["done", "edited", "failed", "unanswered"]
STATUSES: tuple[str, ...] = get_args(Status)
"""done: by the model, or imported. edited: by hand. failed: asked, but the answer is of no use; its raw text is kept.
unanswered: the model gave no answer; the next run asks again."""

STORE_NAME = "keywords.sqlite"
"""The usual name of a store's file: in the folder of the index that its words are for."""

_NOTHING = Expansion()


@dataclass(frozen=True)
class Recipe:
    """What made an expansion, besides the document: entries of different recipes live side by side.

    Attributes:
        model: the model's name.
        parameters: its parameters, as JSON with sorted keys.
        prompt: the prompt's fingerprint.
        version: the prompt's version, for people.
    """

    model: str
    parameters: str
    prompt: str
    version: str

    @classmethod
    def of(cls, chat: ChatModel, prompt: ExpansionPrompt) -> Recipe:
        """The recipe of a model and a prompt."""
        parameters = json.dumps(dict(chat.parameters), sort_keys=True, default=str)
        return cls(chat.model_id, parameters, prompt.fingerprint, prompt.version)

    @classmethod
    def imported(cls, name: str = "imported") -> Recipe:
        """The recipe of expansions from elsewhere, under a name."""
        return cls(name, "{}", "", "")

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the model, its parameters and the prompt."""
        return hashlib.sha256(json.dumps([self.model, self.parameters, self.prompt]).encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """How a document fared. `raw` is the answer where it could not be used, `reason` says why, or what is missing."""

    status: Status
    expansion: Expansion = _NOTHING
    reason: str = ""
    raw: str = ""
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Entry:
    """What the store holds for a document's text.

    Attributes:
        text_hash: the SHA-256 of the text, in hex.
        ids: the documents that have this text now; none if each has changed since.
        recipe: what made it.
        outcome: the expansion, or why there is none.
        written: seconds since 1970.
    """

    text_hash: str
    ids: tuple[str, ...]
    recipe: Recipe
    outcome: Outcome
    written: float

    @property
    def stale(self) -> bool:
        """Whether no document has this text any more."""
        return not self.ids


def text_key(text: str) -> bytes:
    """What a document's text is known by: its SHA-256."""
    return hashlib.sha256(encodable(text).encode()).digest()
