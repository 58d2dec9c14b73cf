"""`LangChainChat`: a LangChain chat model that writes limiar's expansions of documents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage

from limiar.errors import ConfigurationError
from limiar.keywords.chat import ChatAnswer
from limiar.keywords.foreign import chat_error
from limiar.keywords.prompts import Message


class LangChainChat:
    """A `BaseChatModel` as limiar's `ChatModel`, for `limiar.keywords.generate.Expander`.

    The prompt alone says what form the answer has; bind a response format to the model to have its server hold to one.
    Set the model's own `max_retries` to 0: the expander tries again, and holds its other calls back meanwhile.

    Args:
        model: the chat model, or one with options bound to it.
        model_id: the name under which answers are kept; None for the model's own.

    Raises:
        ConfigurationError: it is no chat model.

    Example:
        ```python
        from langchain_limiar import LangChainChat
        from limiar.keywords.generate import Expander
        from limiar.keywords.store import ExpansionStore

        Expander(LangChainChat(model), ExpansionStore("keywords.sqlite")).run(documents)
        ```
    """

    def __init__(self, model: BaseChatModel, *, model_id: str | None = None) -> None:
        inner = getattr(model, "bound", model)
        if not isinstance(inner, BaseChatModel):
            msg = f"model is {type(model).__name__}; expected a LangChain chat model"
            raise ConfigurationError(msg)
        self.model = model
        named = getattr(inner, "model_name", None) or getattr(inner, "model", None)
        self.model_id = model_id or (named if isinstance(named, str) else inner._llm_type)  # noqa: SLF001
        self.parameters: Mapping[str, object] = {
            name: value
            for name in ("temperature", "max_tokens", "seed", "top_p")
            if isinstance(value := getattr(inner, name, None), int | float)
        }
        if bound := getattr(model, "kwargs", None):
            self.parameters = {**self.parameters, "bound": json.dumps(bound, sort_keys=True, default=repr)}

    def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, object] | None = None,  # noqa: ARG002 - a matter of each model's own binding
    ) -> ChatAnswer:
        """What the model says.

        Raises:
            ChatError: it failed.
        """
        try:
            answer = self.model.invoke([(message["role"], message["content"]) for message in messages])
        except Exception as error:
            raise chat_error(self.model_id, error) from error
        usage = answer.usage_metadata if isinstance(answer, AIMessage) else None
        reason = answer.response_metadata.get("finish_reason") or answer.response_metadata.get("stop_reason")
        return ChatAnswer(
            answer.text if isinstance(answer.text, str) else str(answer.content),
            usage["input_tokens"] if usage else None,
            usage["output_tokens"] if usage else None,
            cut=reason in ("length", "max_tokens"),
        )
