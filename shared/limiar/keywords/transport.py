"""Carries one request to an OpenAI-compatible server: by itself, by httpx, or by a client of the openai package."""

from __future__ import annotations

import json
import selectors
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
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
_PIECE = 65_536  # bytes
_SURELY_OPEN = 1.0  # seconds; whether the server closed a connection since is not looked at
_BROKEN = Failure("it cannot be reached, or broke off", passing=True)


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


def open_transport(base_url: str, key: Secret, timeout: float) -> Transport:
    """The quickest way to a server: connections of our own over plain HTTP, httpx's over TLS or through a proxy.

    Proxies are those of the environment, such as HTTPS_PROXY.

    Args:
        base_url: the server's address.
        key: the API key.
        timeout: seconds for a whole answer, also one that comes in drips.

    Raises:
        MissingExtraError: httpx is not installed.
    """
    address = _httpx().URL(base_url.rstrip("/") + _PATH)
    headers = {
        "Host": address.netloc.decode("ascii"),
        "Authorization": f"Bearer {key.reveal()}",
        "Content-Type": "application/json",
        "Accept": "application/json",
    }
    proxy = _proxy(address)
    if proxy is None and address.scheme == "http":
        return PlainTransport(address, headers, timeout)
    return HttpxTransport(address, headers, timeout, proxy)


class PlainTransport:
    """Kept connections of the standard library, which takes half the processor time of httpx. HTTP without TLS.

    Args:
        address: the server's.
        headers: of each request.
        timeout: seconds for a whole answer.
    """

    def __init__(self, address: httpx.URL, headers: Mapping[str, str], timeout: float) -> None:
        self._host, self._port = address.host, address.port or 80
        self._path = address.raw_path.decode("ascii")
        self._headers = dict(headers)
        self._timeout = timeout
        self._idle: list[tuple[HTTPConnection, float]] = []
        self._closed = False

    def post(self, body: Mapping[str, object]) -> Reply | Failure:
        """The answer of the server."""
        connection = self._connection()
        try:
            connection.request("POST", self._path, json.dumps(body).encode(), self._headers)
            with closing(connection.getresponse()) as response:
                reply = self._whole(response)
        except TimeoutError:
            reply = _late(self._timeout)
        except (OSError, HTTPException):
            reply = _BROKEN
        except ValueError:
            reply = Failure("the API key has characters that no header can hold", passing=False)
        if isinstance(reply, Reply) and not self._closed:
            self._idle.append((connection, time.monotonic()))
        else:
            connection.close()
        return reply

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop()[0].close()

    def _connection(self) -> HTTPConnection:
        """The connection used last, if the server has not closed it, or a new one."""
        while self._idle:
            with suppress(IndexError):  # another thread took it
                connection, since = self._idle.pop()
                if time.monotonic() - since < _SURELY_OPEN or not _readable(connection):
                    return connection
                connection.close()
        return HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _whole(self, response: HTTPResponse) -> Reply | Failure:
        content = _within_limits(iter(lambda: response.read1(_PIECE), b""), self._timeout)
        if isinstance(content, Failure):
            return content
        if response.length:  # bytes that were promised and did not come
            return _BROKEN
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, content)


class HttpxTransport:
    """One pool of connections below httpx's client, whose work on each request would cost as much again.

    Args:
        address: the server's.
        headers: of each request.
        timeout: seconds for a whole answer.
        proxy: the address of a proxy.
    """

    def __init__(self, address: httpx.URL, headers: Mapping[str, str], timeout: float, proxy: str | None) -> None:
        httpx = _httpx()
        self._address = address
        self._headers = list(headers.items())
        self._timeout = timeout
        self._limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), timeout)}
        self._pool = httpx.HTTPTransport(
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None), proxy=proxy
        )

    def post(self, body: Mapping[str, object]) -> Reply | Failure:
        """The answer of the server."""
        import httpx

        data = json.dumps(body).encode()
        headers = [*self._headers, ("Content-Length", str(len(data)))]
        request = httpx.Request("POST", self._address, headers=headers, content=data, extensions=self._limits)
        try:
            with closing(self._pool.handle_request(request)) as response:
                content = _within_limits(response.iter_bytes(), self._timeout)
        except httpx.TimeoutException:
            return _late(self._timeout)
        except httpx.TransportError:
            return _BROKEN
        except httpx.HTTPError as error:
            return Failure(type(error).__name__, passing=False)
        if isinstance(content, Failure):
            return content
        return Reply(response.status_code, response.headers, content)

    def close(self) -> None:
        self._pool.close()


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
            return _BROKEN
        except openai.OpenAIError as error:
            return Failure(type(error).__name__, passing=False)
        return Reply(response.status_code, response.headers, response.http_response.content)

    def close(self) -> None:
        """Nothing: the client is the caller's."""


def _within_limits(pieces: Iterator[bytes], timeout: float) -> bytes | Failure:
    """The pieces of an answer together, if they are not too many and come in time."""
    deadline = time.monotonic() + timeout
    read: list[bytes] = []
    size = 0
    for piece in pieces:
        read.append(piece)
        size += len(piece)
        if size > LARGEST_ANSWER:
            return Failure(f"it sent more than {LARGEST_ANSWER:,} bytes", passing=False)
        if time.monotonic() > deadline:
            return _late(timeout)
    return b"".join(read)


def _readable(connection: HTTPConnection) -> bool:
    """Whether a connection at rest has something to read: its end."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection.sock, selectors.EVENT_READ)
        return bool(selector.select(0))


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
