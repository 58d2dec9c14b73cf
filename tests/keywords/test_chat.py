"""Any chat model: a server's, a function, LangChain's, LlamaIndex's."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from limiar import (
    ChatAnswer,
    ChatError,
    ConfigurationError,
    Expander,
    ExpansionPrompt,
    ExpansionStore,
    FunctionChat,
    OpenAIChat,
)
from limiar.keywords.foreign import chat_error
from limiar.keywords.resolve import choose_chat

from .conftest import GOOD, KEY, Reply, Server, refused, said

MESSAGES = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
SCHEMA = ExpansionPrompt().schema()


def test_a_request_and_its_answer(server: Server, chat: OpenAIChat) -> None:
    server.answer = lambda _: said("olá", "length")
    assert chat.complete(MESSAGES, schema=SCHEMA) == ChatAnswer("olá", 100, 20, cut=True)
    (request,) = server.requests
    assert request["authorization"] == f"Bearer {KEY}"
    assert (request["model"], request["messages"], request["path"]) == ("fake", MESSAGES, "/v1/chat/completions")
    assert (request["temperature"], request["max_tokens"]) == (0.0, 1_200)
    assert request["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("knows", "tried"),
    [({"json_schema", "json_object"}, ["json_schema"]), ({"json_object"}, ["json_schema", "json_object"]),
     (set(), ["json_schema", "json_object", None])],
)  # fmt: skip
@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_server_that_does_not_know_a_form_is_asked_without_from_then_on(
    status: int, knows: set[str], tried: list[str | None], server: Server, chat: OpenAIChat
) -> None:
    unknown = refused(status, None, "response_format: Input should be 'text'")

    def answer(_: str) -> Any:
        form = server.requests[-1].get("response_format", {}).get("type")
        return said("ok") if form is None or form in knows else unknown

    server.answer = answer
    for _ in range(2):
        assert chat.complete(MESSAGES, schema=SCHEMA).text == "ok"
    assert [request.get("response_format", {}).get("type") for request in server.requests] == [*tried, tried[-1]]


def test_threads_that_learn_a_form_at_once_learn_the_same(server: Server, chat: OpenAIChat) -> None:
    both = threading.Barrier(2, timeout=10)

    def answer(_: str) -> Any:
        form = server.requests[-1].get("response_format", {}).get("type")
        if len(server.requests) <= 2:
            both.wait()
            return refused(500, None, "response_format: Input should be 'text' or 'json_object'")
        return said(form)

    server.answer = answer
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: chat.complete(MESSAGES, schema=SCHEMA), range(2)))
    assert chat.complete(MESSAGES, schema=SCHEMA).text == "json_object"


@pytest.mark.parametrize(
    ("error", "kind"),
    [({"code": 429, "message": KEY}, "passing"), ({"message": KEY}, "passing"), ({"code": 401}, "fatal"),
     ({"code": 400, "message": KEY}, "document"), (f"upstream of {KEY} failed", "passing")],
)  # fmt: skip
def test_an_error_that_comes_with_http_200_is_one(error: object, kind: str, server: Server, chat: OpenAIChat) -> None:
    server.answer = lambda _: Reply(200, json.dumps({"error": error}))
    with pytest.raises(ChatError) as caught:
        chat.complete(MESSAGES)
    assert caught.value.kind == kind
    assert KEY not in str(caught.value)


def test_a_refusal_of_the_document_does_not_give_the_form_up(server: Server, chat: OpenAIChat) -> None:
    server.faults = [refused(400), refused(400), refused(400)]
    with pytest.raises(ChatError, match="HTTP 400"):
        chat.complete(MESSAGES, schema=SCHEMA)
    chat.complete(MESSAGES, schema=SCHEMA)
    assert server.requests[-1]["response_format"]["type"] == "json_schema"


def test_other_parameters_and_none_of_ours(server: Server) -> None:
    chat = OpenAIChat("o9", base_url=server.url, temperature=None, max_tokens=None, structured=False, extra={"seed": 1})
    chat.complete(MESSAGES, schema=SCHEMA)
    sent = {name: value for name, value in server.requests[0].items() if name not in ("authorization", "path")}
    assert sent == {"model": "o9", "messages": MESSAGES, "seed": 1}
    assert chat.parameters == {"seed": 1}


def test_a_client_of_the_openai_package(server: Server, store: ExpansionStore) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=server.url, api_key=KEY)
    chat = OpenAIChat("fake", client=client)
    server.faults = [refused(429, retry_after_ms="5"), refused(500)]
    report = Expander(chat, store, concurrency=2).run([("a", "A licitação."), ("b", "O contrato.")])
    assert (report.done, len(server.requests)) == (2, 4)
    assert chat.server == server.url
    server.faults = [refused(400, "context_length_exceeded")]
    with pytest.raises(ChatError) as caught:
        chat.complete(MESSAGES)
    assert caught.value.kind == "too_long"


@pytest.mark.parametrize(
    "message",
    ["This model's maximum context length is 4096 tokens.", "Requested tokens (5000) exceed context window of 4096",
     "the request exceeds the available context size", "prompt is too long: 9 tokens > 8 maximum"],
)  # fmt: skip
def test_servers_that_say_too_long_in_other_words(message: str, server: Server, chat: OpenAIChat) -> None:
    server.faults = [refused(400, None, message)]
    with pytest.raises(ChatError) as caught:
        chat.complete(MESSAGES, schema=SCHEMA)
    assert caught.value.kind == "too_long"
    assert message not in str(caught.value)


def test_the_proxy_of_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    monkeypatch.setenv("no_proxy", "localhost")
    assert OpenAIChat("x", base_url="http://models.invalid/v1").complete(MESSAGES).text == GOOD
    assert server.requests[0]["path"] == "http://models.invalid/v1/chat/completions"
    assert OpenAIChat("x", base_url=server.url.replace("127.0.0.1", "localhost")).complete(MESSAGES).text == GOOD
    assert server.requests[1]["path"] == "/v1/chat/completions"


def test_an_answer_without_end(server: Server, chat: OpenAIChat) -> None:
    server.answer = lambda _: said("a" * 9_000_000)
    with pytest.raises(ChatError, match="more than 8,000,000 bytes"):
        chat.complete(MESSAGES)


def test_openai_itself_needs_a_key() -> None:
    with pytest.raises(ConfigurationError, match="OpenAI needs a key"):
        OpenAIChat().warm_up()


@pytest.mark.parametrize(
    "options",
    [{"model": ""}, {"model": 3}, {"max_tokens": 1}, {"temperature": -1}, {"timeout": 0}, {"base_url": "ftp://x"}],
)
def test_values_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        OpenAIChat(**options)


# Functions, and what is none


def test_functions() -> None:
    assert FunctionChat(lambda messages: messages[-1]["content"], "echo").complete(MESSAGES) == ChatAnswer("u")
    assert choose_chat(test_functions).model_id.endswith("test_chat.test_functions")
    assert choose_chat("gpt-4o-mini").model_id == "gpt-4o-mini"
    chat = OpenAIChat("x")
    assert choose_chat(chat) is chat
    with pytest.raises(ChatError, match="gave int; expected a string"):
        FunctionChat(lambda _: 3, "three").complete(MESSAGES)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("chat", [None, 3, int, object()])
def test_what_is_no_chat_model(chat: object) -> None:
    with pytest.raises(ConfigurationError, match="chat is"):
        choose_chat(chat)


# The frameworks


def test_a_langchain_model(store: ExpansionStore) -> None:
    core = pytest.importorskip("langchain_core.language_models.fake_chat_models")
    messages = pytest.importorskip("langchain_core.messages")
    from langchain_limiar import LangChainChat

    usage = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
    answer = messages.AIMessage(GOOD, usage_metadata=usage, response_metadata={"finish_reason": "length"})
    seen: list[Any] = []

    class Model(core.GenericFakeChatModel):  # type: ignore[misc, name-defined]
        temperature: float = 0.3

        def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append([(message.type, message.content) for message in messages])
            return super()._generate(messages, *args, **kwargs)

    chat = LangChainChat(Model(messages=iter([answer] * 2)), model_id="mine")
    assert chat.complete(MESSAGES) == ChatAnswer(GOOD, 7, 5, cut=True)
    assert seen == [[("system", "s"), ("human", "u")]]
    assert chat.parameters == {"temperature": 0.3}
    assert Expander(chat, store, concurrency=1).run([("a", "A licitação.")]).done == 1
    bound = LangChainChat(Model(messages=iter([answer])).bind(stop=["x"]))
    assert bound.parameters["bound"] == '{"stop": ["x"]}'
    with pytest.raises(ConfigurationError, match=r"wrap it: langchain_limiar\.LangChainChat"):
        choose_chat(Model(messages=iter([])))
    with pytest.raises(ConfigurationError, match="expected a LangChain chat model"):
        LangChainChat("gpt")  # type: ignore[arg-type]


def test_a_llama_index_llm(store: ExpansionStore) -> None:
    llms = pytest.importorskip("llama_index.core.llms")
    types = pytest.importorskip("llama_index.core.base.llms.types")
    from llama_index_limiar import LlamaIndexChat

    class Model(llms.MockLLM):  # type: ignore[misc, name-defined]
        temperature: float = 0.3

        def chat(self, messages: Any, **_: Any) -> Any:
            raw = {"usage": {"prompt_tokens": 7, "completion_tokens": 5}, "choices": [{"finish_reason": "length"}]}
            assert [message.role.value for message in messages[:2]] == ["system", "user"]
            return types.ChatResponse(message=types.ChatMessage(role="assistant", content=GOOD), raw=raw)

    chat = LlamaIndexChat(Model(), model_id="mine")
    assert chat.complete(MESSAGES) == ChatAnswer(GOOD, 7, 5, cut=True)
    assert chat.parameters["temperature"] == 0.3
    assert Expander(chat, store, concurrency=1).run([("a", "A licitação.")]).done == 1
    with pytest.raises(ConfigurationError, match=r"wrap it: llama_index_limiar\.LlamaIndexChat"):
        choose_chat(Model())
    with pytest.raises(ConfigurationError, match="expected a LlamaIndex LLM"):
        LlamaIndexChat("gpt")  # type: ignore[arg-type]


def test_a_langchain_model_of_a_real_client_behind_a_real_server(server: Server, store: ExpansionStore) -> None:
    client = pytest.importorskip("langchain_openai")
    from langchain_limiar import LangChainChat

    model = client.ChatOpenAI(model="fake", base_url=server.url, api_key=KEY, max_retries=0)
    server.faults = [refused(429, retry_after_ms="5"), refused(503)]
    chat = LangChainChat(model)
    assert chat.model_id == "fake"
    report = Expander(chat, store, concurrency=1).run([("a", "A licitação."), ("b", "O contrato.")])
    assert (report.done, report.prompt_tokens, len(server.requests)) == (2, 200, 4)
    server.faults = [refused(401)]
    with pytest.raises(ChatError) as caught:
        chat.complete(MESSAGES)
    assert caught.value.kind == "fatal"
    server.faults = [refused(400, "context_length_exceeded")]
    with pytest.raises(ChatError) as caught:
        chat.complete(MESSAGES)
    assert caught.value.kind == "too_long"


def test_exceptions_of_other_clients() -> None:
    class RateLimitError(Exception):
        status_code = 429

    class ConnectTimeoutError(Exception):
        pass

    assert chat_error("m", RateLimitError("segredo")).kind == "passing"
    assert chat_error("m", ConnectTimeoutError()).kind == "passing"
    assert chat_error("m", KeyError("segredo")).kind == "document"
    outer = RuntimeError("wrapped")
    outer.__cause__ = RateLimitError()
    assert chat_error("m", outer).kind == "passing"
    assert "segredo" not in str(chat_error("m", RateLimitError("segredo")))
