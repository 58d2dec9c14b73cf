"""Asks a chat model about one document: again where that may help, and with less text where that is too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from limiar.errors import ChatError, ConfigurationError, ExpansionParseError, MissingExtraError
from limiar.keywords.chat import ChatAnswer, ChatModel
from limiar.keywords.entries import Outcome
from limiar.keywords.expansion import Expansion
from limiar.keywords.foreign import chat_error
from limiar.keywords.languages import unrelated, wrong_language
from limiar.keywords.parser import parse_expansion
from limiar.keywords.prompts import ExpansionPrompt, Message, shorten
from limiar.rate_limits import Gate, backoff, jittered
from limiar.servers import LONGEST_WAIT

_HALVINGS = 4
_RAW_KEPT = 20_000  # characters
_WAITS_PER_RETRY = 10  # a wait that the server asks for is no fault of the call


class Stopped(Exception):  # noqa: N818
    """The run has ended: this document was not asked about."""


@dataclass
class _Spent:
    """What one document has cost so far."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def add(self, answer: ChatAnswer, seconds: float) -> None:
        self.calls += 1
        self.prompt_tokens += answer.prompt_tokens or 0
        self.completion_tokens += answer.completion_tokens or 0
        self.seconds += seconds


@dataclass(frozen=True)
class Asked:
    """How a document fared, and whether its text was shortened. `error` is the server's, where it gave no answer."""

    outcome: Outcome
    shortened: bool = False
    error: ChatError | None = None


@dataclass
class Asker:
    """Asks for all threads of a run together, and holds all of them back while the server wants quiet.

    Attributes:
        chat: the model.
        prompt: what to ask.
        retries: how often a call is made again after a failure that may pass.
        stop: ends all waiting.
        slots: calls at a time. What comes before and after a call holds none.
    """

    chat: ChatModel
    prompt: ExpansionPrompt
    retries: int
    stop: threading.Event
    slots: threading.Semaphore
    gate: Gate = field(default_factory=Gate)

    def __post_init__(self) -> None:
        self._schema = self.prompt.schema()

    def ask(self, text: str) -> Asked:
        """The outcome for a document.

        Raises:
            ChatError: no other document will be answered either.
            ConfigurationError: nor can any be asked about, as without a key.
            MissingExtraError: nor without the package of the model.
            Stopped: `stop` was set before there was an answer.
        """
        spent = _Spent()
        fitting = self.prompt.shortened(text)
        for _ in range(_HALVINGS + 1):
            try:
                outcome = self._twice(fitting, spent)
            except ChatError as error:
                if error.kind == "fatal":
                    raise
                if error.kind != "too_long":
                    return self._asked(Outcome("unanswered", reason=str(error)), spent, text, fitting, error)
                fitting = shorten(fitting, max(1, len(fitting) // 2))
                continue
            return self._asked(outcome, spent, text, fitting)
        reason = f"too long for the model, even shortened to {len(fitting)} characters"
        return self._asked(Outcome("failed", reason=reason), spent, text, fitting)

    @staticmethod
    def _asked(outcome: Outcome, spent: _Spent, text: str, fitting: str, error: ChatError | None = None) -> Asked:
        return Asked(replace(outcome, **vars(spent)), len(fitting) < len(text.rstrip()), error)

    def _twice(self, text: str, spent: _Spent) -> Outcome:
        """Ask, and once more with the reason if the answer is of no use."""
        answer = self._complete(self.prompt.messages(text), spent)
        try:
            return Outcome("done", self._read(answer, text))
        except ExpansionParseError as error:
            first = error
        again = self.prompt.again(text, answer.text, str(first))
        try:
            answer = self._complete(again, spent)
        except ChatError as error:
            if error.kind != "too_long":
                raise
            return self._unusable(text, first, first)
        try:
            return Outcome("done", self._read(answer, text))
        except ExpansionParseError as error:
            return self._unusable(text, first, error)

    def _read(self, answer: ChatAnswer, text: str) -> Expansion:
        expansion = parse_expansion(answer.text, self.prompt, cut=answer.cut)
        if fault := self._fault(expansion, text):
            reason, why = fault
            raise ExpansionParseError(why, reason=reason, answer=answer.text)
        return expansion

    def _fault(self, expansion: Expansion, text: str) -> tuple[str, str] | None:
        """What is wrong with an expansion of good form: a word and a sentence."""
        if why := wrong_language(expansion, text, self.prompt.output_language):
            return "language", why
        if self.prompt.output_language is None and unrelated(expansion, text):
            return "unrelated", "none of its words is in the document"
        return None

    def _unusable(self, text: str, first: ExpansionParseError, last: ExpansionParseError) -> Outcome:
        """What is left after two answers: the parts that one of them had, or the failure with the raw text."""
        for error in (last, first):
            partial = error.partial
            if isinstance(partial, Expansion) and partial.keywords and not self._fault(partial, text):
                return Outcome("done", partial, reason=str(error))
        return Outcome("failed", reason=f"{last.reason}: {last}", raw=last.answer[:_RAW_KEPT])

    def _complete(self, messages: Sequence[Message], spent: _Spent) -> ChatAnswer:
        """One answer, by as many attempts as it takes and is allowed."""
        failures = waits = 0
        while True:
            with self.slots:
                if not self.gate.wait(self.stop):
                    raise Stopped
                try:
                    return self._attempt(messages, spent)
                except ChatError as error:
                    wait = error.wait if error.wait and error.wait <= LONGEST_WAIT else None
                    failures, waits = (failures + 1, waits) if wait is None else (failures, waits + 1)
                    if error.kind != "passing" or failures > self.retries or waits > _WAITS_PER_RETRY * self.retries:
                        raise
                if wait is not None:
                    self.gate.close_for(jittered(wait))
            if wait is None:
                self.stop.wait(backoff(failures - 1))

    def _attempt(self, messages: Sequence[Message], spent: _Spent) -> ChatAnswer:
        started = time.perf_counter()
        try:
            answer = self.chat.complete(messages, schema=self._schema)
        except (ChatError, ConfigurationError, MissingExtraError):
            raise
        except Exception as error:
            raise chat_error(self.chat.model_id, error) from error
        spent.add(answer, time.perf_counter() - started)
        return answer
