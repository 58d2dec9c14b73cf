"""Requests over connections of our own, against servers that keep to HTTP more or less."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from limiar import ChatError, ConfigurationError, OpenAIChat
from limiar.keywords.transport import HttpxTransport, PlainTransport, Reply, open_transport
from limiar.servers import Failure, Secret

from .conftest import GOOD, KEY, Server, said

MESSAGES = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
BODY = said(GOOD).body.encode()
OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n3\r\n   \r\n0\r\n\r\n" % (len(BODY), BODY)
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that does `talk` on each connection, then closes it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def each(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            talk(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=each, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        listener.close()


def read_request(connection: socket.socket) -> bytes:
    """A request's head and body; b"" where the client has gone."""
    read = b""
    while b"\r\n\r\n" not in read or not read.endswith(b"}"):
        piece = connection.recv(65_536)
        if not piece:
            return b""
        read += piece
    return read


def answering(*answers: bytes) -> Callable[[socket.socket], None]:
    """Gives these answers on each connection, one a request."""

    def talk(connection: socket.socket) -> None:
        for answer in answers:
            if not read_request(connection):
                return
            connection.sendall(answer)

    return talk


@pytest.mark.parametrize(
    "answer",
    [WHOLE, CHUNKED, OK + b"\r\n" + BODY, WHOLE.replace(b"1.1", b"1.0", 1), CONTINUED,
     WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)],
    ids=["length", "chunks", "to the end", "HTTP/1.0", "continue", "close"],
)  # fmt: skip
def test_answers_of_all_forms(answer: bytes) -> None:
    closes = answer not in (WHOLE, CHUNKED, CONTINUED)  # the others are kept
    rest = () if closes else (answer,) * 9
    with serving(answering(answer, *rest)) as url:
        chat = OpenAIChat("fake", base_url=url, timeout=10)
        for _ in range(3):
            assert chat.complete(MESSAGES).text == GOOD
        chat.close()


@pytest.mark.parametrize(
    "answer",
    [b"", b"hello\r\n\r\n", WHOLE[:-3], CHUNKED[:-12], CHUNKED.replace(b"3\r\n", b"x\r\n"), OK + b"a" * 99_999],
    ids=["nothing", "no HTTP", "cut", "cut chunks", "no chunk", "endless header"],
)  # fmt: skip
def test_broken_answers_may_pass(answer: bytes) -> None:
    with serving(answering(answer)) as url, pytest.raises(ChatError, match="cannot be reached, or broke off") as caught:
        OpenAIChat("fake", base_url=url, timeout=10).complete(MESSAGES)
    assert caught.value.kind == "passing"


def test_an_answer_in_drips_is_a_timeout() -> None:
    over = threading.Event()

    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK + b"\r\n")
        while not over.wait(0.02):
            connection.sendall(b" ")

    with serving(talk) as url, pytest.raises(ChatError, match=r"within 0\.2 seconds"):
        OpenAIChat("fake", base_url=url, timeout=0.2).complete(MESSAGES)
    over.set()


def test_a_refusal_of_a_request_that_was_not_read() -> None:
    """The server closes its end while the client still writes."""

    def talk(connection: socket.socket) -> None:
        connection.recv(1_000)
        connection.sendall(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\n\r\n")

    long = [{"role": "user", "content": "a" * 20_000_000}]
    with serving(talk) as url, pytest.raises(ChatError) as caught:
        OpenAIChat("fake", base_url=url, timeout=10).complete(long)
    assert caught.value.kind == "too_long"


def test_connections_are_kept() -> None:
    opened: list[int] = []

    def talk(connection: socket.socket) -> None:
        opened.append(1)
        answering(*[WHOLE] * 99)(connection)

    with serving(talk) as url, ThreadPoolExecutor(4) as pool:
        chat = OpenAIChat("fake", base_url=url, timeout=10)
        answers = list(pool.map(lambda _: chat.complete(MESSAGES).text, range(60)))
        chat.close()
    assert answers == [GOOD] * 60
    assert 1 <= len(opened) <= 4


def test_a_connection_that_the_server_closed_meanwhile() -> None:
    with serving(answering(WHOLE)) as url:
        sender = open_transport(url, Secret(KEY), 10)
        assert isinstance(sender, PlainTransport)
        for _ in range(3):
            assert isinstance(sender.post({}), Reply)
            (connection,) = sender._idle
            connection.recv(1, socket.MSG_PEEK)  # the end has come
        sender.close()
        assert not sender._idle


def test_a_closed_transport_keeps_nothing_of_a_call_under_way() -> None:
    asked, go = threading.Event(), threading.Event()

    def talk(connection: socket.socket) -> None:
        read_request(connection)
        asked.set()
        go.wait(10)
        connection.sendall(WHOLE)
        read_request(connection)

    with serving(talk) as url, ThreadPoolExecutor(1) as pool:
        sender = open_transport(url, Secret(KEY), 10)
        assert isinstance(sender, PlainTransport)
        reply = pool.submit(sender.post, {})
        assert asked.wait(10)
        sender.close()
        go.set()
        assert isinstance(reply.result(), Reply)
        assert not sender._idle


def test_tls_and_proxies_are_httpxs(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    secure = open_transport(server.url.replace("http:", "https:"), Secret(KEY), 5)
    assert isinstance(secure, HttpxTransport)
    assert secure.post({}) == Failure("it cannot be reached, or broke off", passing=True)
    assert not server.requests  # the key is not sent in the open
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    assert isinstance(open_transport("http://models.invalid/v1", Secret(KEY), 5), HttpxTransport)


@pytest.mark.parametrize("key", ["sk-secret\r\nX-Evil: 1", "sk-secret-ção"])
def test_a_key_that_no_header_can_hold(key: str, server: Server) -> None:
    with pytest.raises(ConfigurationError, match="API key has characters") as caught:
        OpenAIChat("fake", base_url=server.url, api_key=key).warm_up()
    assert "sk-" not in str(caught.value)
