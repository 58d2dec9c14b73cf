"""What the exceptions and answers of other packages' clients say, whichever client it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from limiar.errors import ChatError
from limiar.servers import LONGEST_WAIT, failed_status

_PASSING = ("timeout", "connection", "connect", "ratelimit", "overloaded", "unavailable", "remoteprotocol")
_FOR_ALL = frozenset({401, 402, 403, 404, 429})


def chat_error(model_id: str, error: BaseException) -> ChatError:
    """A client's exception, or one that it was raised from, as a `ChatError`. Its message is not repeated.

    An HTTP status decides where there is one (`status_code`, or that of `response`); else a name such as
    `APITimeoutError` or `ConnectError`.
    """
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        status = getattr(cause, "status_code", None) or getattr(response, "status_code", None)
        if isinstance(status, int) and status >= 300:
            headers = getattr(response, "headers", None)
            code = getattr(cause, "code", None)
            return _of_status(model_id, status, headers if isinstance(headers, Mapping) else {}, code)
    names = [type(cause).__name__ for cause in _causes(error)]
    passing = any(word in name.lower() for name in names for word in _PASSING)
    return ChatError(f"no answer of {model_id}: {names[0]}", kind="passing" if passing else "document")


def _of_status(model_id: str, status: int, headers: Mapping[str, str], code: object) -> ChatError:
    failure = failed_status(status, headers, code)
    said = f"no answer of {model_id}: {failure.reason}"
    if failure.code == "context_length_exceeded" or status == 413:
        return ChatError(said, kind="too_long")
    if failure.passing and (failure.wait or 0) <= LONGEST_WAIT:
        return ChatError(said, kind="passing", wait=failure.wait)
    return ChatError(said, kind="fatal" if failure.passing or status in _FOR_ALL else "document")


def usage_of(raw: object) -> tuple[int | None, int | None, bool]:
    """Tokens read, tokens written and whether it was cut, of an answer in OpenAI's form: an object or a dictionary."""
    usage = _get(raw, "usage")
    choices = _get(raw, "choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    counts = (_get(usage, "prompt_tokens"), _get(usage, "completion_tokens"))
    prompt_tokens, completion_tokens = (count if isinstance(count, int) else None for count in counts)
    return prompt_tokens, completion_tokens, _get(first, "finish_reason") == "length"


def _get(of: object, name: str) -> object:
    return of.get(name) if isinstance(of, Mapping) else getattr(of, name, None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__
