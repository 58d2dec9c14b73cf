"""`LlamaIndexChat`: a LlamaIndex LLM that writes limiar's expansions of documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms import LLM

from limiar.errors import ConfigurationError
from limiar.keywords.chat import ChatAnswer
from limiar.keywords.foreign import chat_error, usage_of
from limiar.keywords.prompts import Message


class LlamaIndexChat:
    """A LlamaIndex `LLM` as limiar's `ChatModel`, for `limiar.keywords.generate.Expander`.

    The prompt alone says what form the answer has. Set the LLM's own `max_retries` to 0: the expander tries again, and
    holds its other calls back meanwhile.

    Args:
        llm: the LLM.
        model_id: the name under which answers are kept; None for the LLM's own.

    Raises:
        ConfigurationError: it is no LLM.

    Example:
        ```python
        from llama_index_limiar import LlamaIndexChat
        from limiar.keywords.generate import Expander
        from limiar.keywords.store import ExpansionStore

        Expander(LlamaIndexChat(llm), ExpansionStore("keywords.sqlite")).run(documents)
        ```
    """

    def __init__(self, llm: LLM, *, model_id: str | None = None) -> None:
        if not isinstance(llm, LLM):
            msg = f"llm is {type(llm).__name__}; expected a LlamaIndex LLM"
            raise ConfigurationError(msg)
        self.llm = llm
        self.model_id = model_id or llm.metadata.model_name
        self.parameters: Mapping[str, object] = {
            name: value
            for name in ("temperature", "max_tokens", "seed", "top_p", "num_output")
            if isinstance(value := getattr(llm, name, None), int | float)
        }

    def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, object] | None = None,  # noqa: ARG002 - a matter of each LLM's own options
    ) -> ChatAnswer:
        """What the LLM says.

        Raises:
            ChatError: it failed.
        """
        try:
            answer = self.llm.chat(
                [ChatMessage(role=message["role"], content=message["content"]) for message in messages]
            )
        except Exception as error:
            raise chat_error(self.model_id, error) from error
        prompt_tokens, completion_tokens, cut = usage_of(answer.raw)
        return ChatAnswer(answer.message.content or "", prompt_tokens, completion_tokens, cut)
