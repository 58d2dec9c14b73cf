"""From what a caller names to a chat model."""

from __future__ import annotations

from limiar.errors import ConfigurationError
from limiar.keywords.chat import ChatModel, FunctionChat


def choose_chat(chat: object) -> ChatModel:
    """The chat model that a caller means: a `ChatModel`, the name of an OpenAI model, or a function.

    Raises:
        ConfigurationError: it is none of these.
    """
    if isinstance(chat, str):
        from limiar.keywords.openai_chat import OpenAIChat

        return OpenAIChat(chat)
    if all(hasattr(chat, name) for name in ("model_id", "parameters", "complete")):
        return chat  # type: ignore[return-value]
    home = type(chat).__module__.partition(".")[0]
    if hasattr(chat, "invoke") and hasattr(chat, "bind_tools"):
        msg = f"chat is a LangChain {type(chat).__name__}; wrap it: langchain_limiar.LangChainChat(model)"
        raise ConfigurationError(msg)
    if hasattr(chat, "chat") and hasattr(chat, "metadata"):
        msg = f"chat is {home}'s {type(chat).__name__}; wrap it: llama_index_limiar.LlamaIndexChat(llm)"
        raise ConfigurationError(msg)
    if callable(chat) and not isinstance(chat, type):
        name = f"{getattr(chat, '__module__', home)}.{getattr(chat, '__qualname__', type(chat).__name__)}"
        return FunctionChat(chat, name)
    msg = f"chat is {type(chat).__name__}; expected a model's name, a ChatModel or a function from messages to text"
    raise ConfigurationError(msg)
