"""Carries one request to an OpenAI-compatible server: by httpx, or by a client of the openai package."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Protocol
from urllib.request import getproxies, proxy_bypass

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
    """One pool of connections below httpx's client, whose work on each request would cost as much again.

    Proxies are those of the environment, such as HTTPS_PROXY.

    Args:
        base_url: the server's address.
        key: the API key.
        timeout: seconds for a whole answer, also one that comes in drips.

    Raises:
        MissingExtraError: httpx is not installed.
    """

    def __init__(self, base_url: str, key: Secret, timeout: float) -> None:
        httpx = _httpx()
        self._address = httpx.URL(base_url.rstrip("/") + _PATH)
        self._headers = [
            ("Host", self._address.netloc.decode("ascii")),
            ("Authorization", f"Bearer {key.reveal()}"),
            ("Content-Type", "application/json"),
            ("Accept", "application/json"),
        ]
        self._timeout = timeout
        self._limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), timeout)}
        self._pool = httpx.HTTPTransport(
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None), proxy=_proxy(self._address)
        )

    def post(self, body: Mapping[str, object]) -> Reply | Failure:
        """The answer of the server."""
        import httpx

        data = json.dumps(body).encode()
        headers = [*self._headers, ("Content-Length", str(len(data)))]
        request = httpx.Request("POST", self._address, headers=headers, content=data, extensions=self._limits)
        try:
            with closing(self._pool.handle_request(request)) as response:
                return self._whole(response)
        except httpx.TimeoutException:
            return _late(self._timeout)
        except httpx.TransportError:
            return Failure("it cannot be reached, or broke off", passing=True)
        except httpx.HTTPError as error:
            return Failure(type(error).__name__, passing=False)

    def close(self) -> None:
        self._pool.close()

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


def _httpx() -> ModuleType:
    try:
        import httpx
    except ImportError as error:
        feature = "OpenAIChat"
        raise MissingExtraError(feature, "openai") from error
    return httpx


def _proxy(address: httpx.URL) -> str | None:
    """The proxy that the environment names for an address."""
    proxies = getproxies()
    if proxy_bypass(address.host):
        return None
    return proxies.get(address.scheme) or proxies.get("all")
