"""What a chat model is to limiar, and a function as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from limiar.errors import ChatError, ConfigurationError
from limiar.keywords.foreign import chat_error
from limiar.keywords.prompts import Message


@dataclass(frozen=True)
class ChatAnswer:
    """What a chat model said.

    Attributes:
        text: "" where it said nothing.
        prompt_tokens: what it read; None if it does not say.
        completion_tokens: what it wrote; None if it does not say.
        cut: whether it was stopped by a limit before its end.
    """

    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cut: bool = False


class ChatModel(Protocol):
    """A language model that answers messages. Thread-safe: `complete` is called from several threads at once.

    Attributes:
        model_id: its name. Answers are kept under it.
        parameters: JSON values that change its answers, such as the temperature. Answers are kept under them.
    """

    @property
    def model_id(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, object]: ...

    def complete(self, messages: Sequence[Message], *, schema: Mapping[str, object] | None = None) -> ChatAnswer:
        """One attempt at an answer. It waits for nothing but the answer: who calls it tries again.

        Args:
            messages: `role` and `content` of each.
            schema: the JSON schema that the answer should have; a model that cannot be held to one ignores it.

        Raises:
            ChatError: there is none; its `kind` says whether another attempt may help.
        """
        ...


class FunctionChat:
    """A function from messages to text as a chat model.

    Args:
        function: takes the messages and gives the answer, as a string or a `ChatAnswer`. Called from several threads.
        model_id: a name for what it does: answers are kept under it.
        parameters: JSON values that change its answers.
    """

    def __init__(
        self,
        function: Callable[[Sequence[Message]], str | ChatAnswer],
        model_id: str,
        parameters: Mapping[str, object] | None = None,
    ) -> None:
        if not callable(function):
            msg = f"function is {type(function).__name__}; expected a function from messages to text"
            raise ConfigurationError(msg)
        if not isinstance(model_id, str) or not model_id.strip():
            msg = f"model_id={model_id!r}; expected a name for the function's answers"
            raise ConfigurationError(msg)
        self.model_id = model_id
        self.parameters: Mapping[str, object] = dict(parameters or {})
        self._function = function

    def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, object] | None = None,  # noqa: ARG002 - a function is not held to one
    ) -> ChatAnswer:
        """What the function says.

        Raises:
            ChatError: it failed, or gave something other than text.
        """
        try:
            answer = self._function(messages)
        except ChatError:
            raise
        except Exception as error:
            raise chat_error(self.model_id, error) from error
        if isinstance(answer, str):
            return ChatAnswer(answer)
        if isinstance(answer, ChatAnswer):
            return answer
        msg = f"{self.model_id} gave {type(answer).__name__}; expected a string or a ChatAnswer"
        raise ChatError(msg, kind="fatal")
