"""Carries one request to an OpenAI-compatible server: by itself, by httpx, or by a client of the openai package."""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from types import ModuleType
from typing import TYPE_CHECKING, Protocol
from urllib.request import getproxies, proxy_bypass

from limiar.errors import ConfigurationError, MissingExtraError
from limiar.servers import Failure, Secret

if TYPE_CHECKING:
    import httpx
    import openai

LARGEST_ANSWER = 8_000_000
"""Bytes: a server that sends more is broken."""

_PATH = "/chat/completions"
_PIECE = 65_536  # bytes
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
        ConfigurationError: the key cannot stand in a header.
    """
    if not (key.reveal().isascii() and key.reveal().isprintable()):
        msg = "the API key has characters that no key has, such as a line break or an accent; copy it again"
        raise ConfigurationError(msg)
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
    """Kept connections of our own, for a third of the processor time that httpx takes. HTTP/1.1 without TLS.

    Each request is one packet where it fits in one. The standard library reads the answers.

    Args:
        address: the server's.
        headers: of each request.
        timeout: seconds for a whole answer.
    """

    def __init__(self, address: httpx.URL, headers: Mapping[str, str], timeout: float) -> None:
        self._server = (address.host, address.port or 80)
        lines = (f"{name}: {value}\r\n".encode("latin-1") for name, value in headers.items())
        self._head = b"POST %b HTTP/1.1\r\n%bAccept-Encoding: identity\r\n" % (address.raw_path, b"".join(lines))
        self._timeout = timeout
        self._idle: list[socket.socket] = []
        self._closed = False

    def post(self, body: Mapping[str, object]) -> Reply | Failure:
        """The answer of the server."""
        data = json.dumps(body).encode()
        try:
            return self._exchange(b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(data), data))
        except TimeoutError:
            return _late(self._timeout)
        except (OSError, HTTPException):
            return _BROKEN

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _exchange(self, request: bytes) -> Reply | Failure:
        connection = self._connection()
        keep = False
        try:
            with suppress(ConnectionError):  # a server that refuses a long request unread may still say why
                connection.sendall(request)
            with closing(HTTPResponse(connection, method="POST")) as response:
                response.begin()
                content = _within_limits(iter(lambda: response.read1(_PIECE), b""), self._timeout)
                if isinstance(content, Failure):
                    return content
                if response.length:  # bytes that were promised and did not come
                    return _BROKEN
                keep = not response.will_close
                headers = {name.lower(): value for name, value in response.getheaders()}
                return Reply(response.status, headers, content)
        finally:
            if keep and not self._closed:
                self._idle.append(connection)
            else:
                connection.close()

    def _connection(self) -> socket.socket:
        """The connection used last, if the server has not closed it, or a new one."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if not _readable(connection):
                return connection
            connection.close()
        connection = socket.create_connection(self._server, self._timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


class HttpxTransport:
    """One pool of connections below httpx's client, whose work on each request would cost as much again.

    For TLS and proxies.

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


def _readable(connection: socket.socket) -> bool:
    """Whether a connection at rest has something to read: its end."""
    if sys.platform == "win32":
        return bool(select.select([connection], [], [], 0)[0])
    poll = select.poll()  # select takes no more than 1,024 open files
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


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
