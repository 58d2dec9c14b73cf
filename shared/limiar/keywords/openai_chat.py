"""Chat models of OpenAI, or of any server that speaks its API: vLLM, Ollama, llama.cpp and others."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from limiar.errors import ChatError, ConfigurationError
from limiar.keywords.chat import ChatAnswer
from limiar.keywords.prompts import Message
from limiar.keywords.transport import ClientTransport, Reply, Transport, open_transport
from limiar.selection import check_count
from limiar.servers import LONGEST_WAIT, OPENAI, Failure, Secret, failed_status, openai_key, without_credentials

if TYPE_CHECKING:
    import openai

_Kind = Literal["passing", "document", "too_long", "fatal"]
_FOR_ALL = frozenset({401, 402, 403, 404, 429})
_REFUSES_FORM = frozenset({400, 404, 415, 422, 501})
_NO_FORM = 2
_NOT_JSON = Failure("its answer is not JSON, or broke off", passing=True)
_TOO_LONG = re.compile(
    r"context.{0,40}(?:length|window|size|exceed)|maximum (?:context|prompt)|prompt is too long|too many tokens|"
    r"exceeds? the (?:available|maximum) context",
    re.IGNORECASE,
)


class OpenAIChat:
    """A chat model behind OpenAI's API; needs `limiar[openai]`. Thread-safe.

    It asks for the form of the answer by a JSON schema, in OpenAI's way or else in llama-cpp-python's. A server that
    refuses either but takes the request without is not asked in that way again: the prompt alone says what to write.

    Requests go by kept connections of our own (plain HTTP) or of httpx, which the openai package brings along (TLS,
    proxies): a call of that package takes a multiple of the processor time. With `client`, they go through that client.

    Args:
        model: the name that the server knows.
        base_url: a server such as http://localhost:8000/v1; None for OPENAI_BASE_URL or OpenAI's own.
        api_key: None for OPENAI_API_KEY; a server of your own may need none.
        temperature: None leaves it to the server, as some models demand.
        max_tokens: of the answer; a small model may write for ever without. None leaves it to the server.
        timeout: seconds for a whole answer.
        structured: whether to ask for the schema at all.
        extra: more fields of each request, such as {"seed": 1} or {"max_completion_tokens": 800}.
        client: an `openai.OpenAI` or `openai.AzureOpenAI` to send by, instead of `base_url` and `api_key`.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    def __init__(
        self,
        model: str = "gpt-4o-mini",
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        temperature: float | None = 0.0,
        max_tokens: int | None = 1_200,
        timeout: float = 120.0,
        structured: bool = True,
        extra: Mapping[str, object] | None = None,
        client: openai.OpenAI | None = None,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            msg = f"model={model!r}; expected the name that the server knows, such as gpt-4o-mini"
            raise ConfigurationError(msg)
        if max_tokens is not None:
            check_count("max_tokens", max_tokens, 16)
        for name, value, least in (("temperature", temperature, 0.0), ("timeout", timeout, 0.001)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < least):
                msg = f"{name}={value!r}; expected a number of at least {least:g}"
                raise ConfigurationError(msg)
        if client is not None and (base_url or api_key):
            msg = "base_url and api_key are the client's own; give either those or client"
            raise ConfigurationError(msg)
        self.model = model
        self.timeout = float(timeout)
        self._base_url = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
        self.server = without_credentials(str(client.base_url) if client is not None else self._base_url)
        asked = {"temperature": temperature, "max_tokens": max_tokens}
        self._options: dict[str, object] = {name: value for name, value in asked.items() if value is not None}
        self._options.update(extra or {})
        self._form = 0 if structured else _NO_FORM
        self._key = Secret(api_key) if api_key else None
        self._client = client
        self._transport: Transport | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"OpenAIChat({self.model!r}, server={self.server!r})"

    @property
    def model_id(self) -> str:
        """The model's name."""
        return self.model

    @property
    def parameters(self) -> Mapping[str, object]:
        """What each request says besides the messages."""
        return dict(self._options)

    def warm_up(self) -> None:
        """Check the key and the packages now. Sends nothing.

        Raises:
            MissingExtraError: the openai package is not installed.
            ConfigurationError: OpenAI's own server and no key.
        """
        self._opened()

    def close(self) -> None:
        """Close the connections. The next use opens them again."""
        with self._lock:
            if self._transport is not None:
                self._transport.close()
            self._transport = None

    def complete(self, messages: Sequence[Message], *, schema: Mapping[str, object] | None = None) -> ChatAnswer:
        """One attempt at an answer.

        Raises:
            ChatError: there is none; its `kind` says whether another attempt may help.
        """
        body = {"model": self.model, "messages": list(messages), **self._options}
        transport = self._opened()
        forms = _forms(schema)
        first = _NO_FORM if schema is None else self._form
        reply = transport.post({**body, **forms[first]})
        for place in range(first + 1, len(forms)):
            if not _may_refuse_form(reply):
                break
            reply = transport.post({**body, **forms[place]})
            if isinstance(reply, Reply) and reply.status < 300:
                self._form = place  # another thread may have written the same
        return self._read(reply)

    def _read(self, reply: Reply | Failure) -> ChatAnswer:
        if isinstance(reply, Failure):
            raise self._error(reply, "passing" if reply.passing else "document")
        if reply.status >= 300:
            raise self._refused(reply)
        try:
            answer = json.loads(reply.content)
        except (ValueError, RecursionError) as error:
            raise self._error(_NOT_JSON, "passing") from error
        if isinstance(answer, dict) and answer.get("error") and not answer.get("choices"):
            raise self._refused(replace(reply, status=_status_of(answer["error"])))
        return _chat_answer(answer)

    def _refused(self, reply: Reply) -> ChatError:
        said = _error_of(reply.content)
        failure = failed_status(reply.status, reply.headers, said.get("code"), said.get("type"))
        if _is_too_long(reply):
            return self._error(failure, "too_long")
        if failure.passing:
            return self._error(failure, "passing" if (failure.wait or 0) <= LONGEST_WAIT else "fatal")
        return self._error(failure, "fatal" if reply.status in _FOR_ALL else "document")

    def _error(self, failure: Failure, kind: _Kind) -> ChatError:
        wait = failure.wait if failure.passing else None
        asked = f", and asks to wait {wait:.0f} seconds" if wait and kind == "fatal" else ""
        said = f"no answer of {self.model} at {self.server}: {failure.reason}{asked}"
        return ChatError(said, kind=kind, wait=wait)

    def _opened(self) -> Transport:
        with self._lock:
            if self._transport is None:
                self._transport = (
                    open_transport(self._base_url, openai_key(self._key, self.server), self.timeout)
                    if self._client is None
                    else ClientTransport(self._client, self.timeout)
                )
            return self._transport


def _forms(schema: Mapping[str, object] | None) -> list[dict[str, object]]:
    """The ways to ask for the form of an answer, the strictest first; the last asks for none."""
    named = {"name": "expansion", "schema": schema, "strict": True}
    return [
        {"response_format": {"type": "json_schema", "json_schema": named}},
        {"response_format": {"type": "json_object", "schema": schema}},
        {},
    ]


def _may_refuse_form(reply: Reply | Failure) -> bool:
    """Whether the same request without a form may be taken. Some servers say 500 for what they do not know."""
    if isinstance(reply, Failure) or _is_too_long(reply):
        return False
    return reply.status in _REFUSES_FORM or (reply.status == 500 and b"response_format" in reply.content)


def _is_too_long(reply: Reply) -> bool:
    if reply.status not in (400, 413, 422, 500):
        return False
    said = _error_of(reply.content)
    about = f"{said.get('code')} {said.get('type')} {said.get('message')}"
    return reply.status == 413 or _TOO_LONG.search(about[:2_000]) is not None


def _error_of(content: bytes) -> Mapping[str, object]:
    """What a refusal says of itself: OpenAI's form, FastAPI's, or none."""
    try:
        body = json.loads(content[:100_000])
    except (ValueError, RecursionError):
        return {"message": content[:2_000].decode("utf-8", "replace")}
    error = body.get("error", body) if isinstance(body, dict) else body
    return error if isinstance(error, dict) else {"message": str(error)[:2_000]}


def _status_of(error: object) -> int:
    """Of an error that came with HTTP 200, as gateways send that of a server behind them."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 502


def _chat_answer(answer: object) -> ChatAnswer:
    """The text of the first choice; "" where there is none. A refusal that the server marks as one is its text."""
    body = answer if isinstance(answer, dict) else {}
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    text = message.get("content") or message.get("refusal") or ""
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return ChatAnswer(
        text if isinstance(text, str) else _joined(text),
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        cut=choice.get("finish_reason") == "length",
    )


def _joined(parts: object) -> str:
    """The text of a content in parts."""
    texts = [part.get("text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return "".join(text for text in texts if isinstance(text, str))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
