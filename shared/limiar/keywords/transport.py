"""Carries one request to an OpenAI-compatible server: by httpx, or by a client of the openai package."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from limiar.errors import MissingExtraError
from limiar.servers import Failure, Secret

if TYPE_CHECKING:
    import httpx
    import openai

LARGEST_ANSWER = 8_000_000
"""Bytes: a server that sends more is broken."""

_PATH = "/chat/completions"


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Transport(Protocol):
    """One attempt at a request: the answer, or why there is none."""

    def post(self, body: Mapping[str, object]) -> Reply | Failure: ...

    def close(self) -> None: ...


class HttpTransport:
    """One pool of connections, without the openai package's own work on each request.

    Args:
        base_url: the server's address.
        key: the API key.
        timeout: seconds for a whole answer, also one that comes in drips.

    Raises:
        MissingExtraError: httpx is not installed.
    """

    def __init__(self, base_url: str, key: Secret, timeout: float) -> None:
        self._address = base_url.rstrip("/") + _PATH
        self._timeout = timeout
        self._client = _http_client(key, timeout)

    def post(self, body: Mapping[str, object]) -> Reply | Failure:
        """The answer of the server."""
        import httpx

        try:
            with self._client.stream("POST", self._address, content=json.dumps(body).encode()) as response:
                return self._whole(response)
        except httpx.TimeoutException:
            return _late(self._timeout)
        except httpx.TransportError:
            return Failure("it cannot be reached, or broke off", passing=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Failure(type(error).__name__, passing=False)

    def close(self) -> None:
        self._client.close()

    def _whole(self, response: httpx.Response) -> Reply | Failure:
        deadline = time.monotonic() + self._timeout
        pieces: list[bytes] = []
        size = 0
        for piece in response.iter_bytes():
            pieces.append(piece)
            size += len(piece)
            if size > LARGEST_ANSWER:
                return Failure(f"it sent more than {LARGEST_ANSWER:,} bytes", passing=False)
            if time.monotonic() > deadline:
                return _late(self._timeout)
        return Reply(response.status_code, response.headers, b"".join(pieces))


class ClientTransport:
    """Requests through a client of the caller's, such as `openai.AzureOpenAI`, with its address, key and proxies."""

    def __init__(self, client: openai.OpenAI, timeout: float) -> None:
        self._timeout = timeout
        self._client = client.with_options(max_retries=0, timeout=timeout)

    def post(self, body: Mapping[str, object]) -> Reply | Failure:
        """The answer of the server."""
        import openai

        try:
            response = self._client.chat.completions.with_raw_response.create(**body)  # type: ignore[call-overload]
        except openai.APIStatusError as error:
            return Reply(error.status_code, error.response.headers, error.response.content)
        except openai.APITimeoutError:
            return _late(self._timeout)
        except openai.APIConnectionError:
            return Failure("it cannot be reached, or broke off", passing=True)
        except openai.OpenAIError as error:
            return Failure(type(error).__name__, passing=False)
        return Reply(response.status_code, response.headers, response.http_response.content)

    def close(self) -> None:
        """Nothing: the client is the caller's."""


def _late(timeout: float) -> Failure:
    return Failure(f"it did not answer within {timeout:g} seconds", passing=True)


def _http_client(key: Secret, timeout: float) -> httpx.Client:
    try:
        import httpx
    except ImportError as error:
        feature = "OpenAIChat"
        raise MissingExtraError(feature, "openai") from error
    return httpx.Client(
        headers={"Authorization": f"Bearer {key.reveal()}", "Content-Type": "application/json"},
        timeout=timeout,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        verify=ssl.create_default_context(),
    )
