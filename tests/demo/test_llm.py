"""Answers by a real HTTP server that speaks OpenAI's chat completions."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from limiar.cli import main

Run = Callable[..., CompletedProcess[str]]
Serve = Callable[[type[BaseHTTPRequestHandler]], AbstractContextManager[str]]

KEY = "sk-the-secret-key"
ANSWERED = "repactuação"
PIECES = ["A repactuação ", "segue a convenção", "\n\n", "coletiva \x1b[31m[1]."]


class Server(BaseHTTPRequestHandler):
    """Streams PIECES; keeps what it was sent."""

    received: list[dict[str, Any]]
    keys: list[str]

    def __init_subclass__(cls) -> None:
        cls.received, cls.keys = [], []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append({"path": self.path, **json.loads(body)})
        self.keys.append(self.headers["Authorization"])
        self.answer()

    def answer(self) -> None:
        self.send(200, "text/event-stream", b"".join(self.events()))

    def events(self) -> Iterator[bytes]:
        for piece in [*PIECES, None]:
            choices = [{"index": 0, "delta": {"content": piece}, "finish_reason": None}] if piece else []
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": choices}
            yield f"data: {json.dumps(chunk)}\n\n".encode()
        yield b"data: [DONE]\n\n"

    def send(self, status: int, kind: str, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def ask(limiar: Run, db: Path, url: str, question: str = ANSWERED, **environment: str) -> CompletedProcess[str]:
    arguments = ("--db", db, "--question", question, "--llm-base-url", url, "--llm-model", "m")
    done = limiar("demo", *arguments, **{"OPENAI_API_KEY": KEY, **environment})
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stdout + done.stderr
    return done


def test_an_answer_is_streamed_and_its_sources_named(limiar: Run, db: Path, serve: Serve) -> None:
    class Answers(Server): ...

    with serve(Answers) as url:
        done = ask(limiar, db, url)
    assert "A repactuação segue a convenção\n\ncoletiva [31m[1].\n" in done.stdout
    assert "\n  [1] Repactuação em contratos de mão de obra" in done.stdout
    assert "the kept passages themselves" not in done.stdout
    assert Answers.keys == [f"Bearer {KEY}"]


def test_the_prompt_holds_the_kept_passages_and_nothing_else(limiar: Run, db: Path, serve: Serve) -> None:
    class Answers(Server): ...

    with serve(Answers) as url:
        done = ask(limiar, db, url)
    (request,) = Answers.received
    assert request["path"] == "/v1/chat/completions"
    assert (request["model"], request["stream"]) == ("m", True)
    system, user = request["messages"]
    assert "from the numbered passages only" in system["content"]
    assert "language of the question" in system["content"]
    assert user["content"].startswith("Passages:\n\n[1] Repactuação em contratos de mão de obra")
    assert user["content"].endswith(f"Question: {ANSWERED}")
    kept = done.stdout.count("+ kept as [")
    assert f"[{kept}] " in user["content"]
    assert f"[{kept + 1}] " not in user["content"]


def test_nothing_relevant_asks_no_llm(limiar: Run, db: Path, serve: Serve) -> None:
    class Answers(Server): ...

    with serve(Answers) as url:
        done = ask(limiar, db, url, "Qual o ponto certo do pão de queijo?")
    assert Answers.received == []
    assert "Não encontrei nada relevante" in done.stdout
    assert "NOT TRUSTED" in done.stdout


def test_a_server_without_a_key(limiar: Run, db: Path, serve: Serve) -> None:
    class Answers(Server): ...

    with serve(Answers) as url:
        done = ask(limiar, db, url, OPENAI_API_KEY="")
    assert "convenção" in done.stdout
    assert Answers.keys == ["Bearer no-key"]


def test_a_server_from_the_environment(limiar: Run, db: Path, serve: Serve) -> None:
    class Answers(Server): ...

    with serve(Answers) as url:
        more = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": url}
        done = limiar("demo", "--db", db, "--question", ANSWERED, "--llm-model", "m", **more)
    assert "coletiva [31m[1]." in done.stdout
    assert len(Answers.received) == 1


def refusal(status: int) -> type[Server]:
    class Refuses(Server):
        def answer(self) -> None:
            error = {"error": {"message": f"Incorrect API key provided: {KEY}", "type": "invalid_request_error"}}
            self.send(status, "application/json", json.dumps(error).encode())

    return Refuses


class BreaksOff(Server):
    def answer(self) -> None:
        self.send(200, "text/event-stream", next(self.events()), length=100_000)
        self.close_connection = True


class SaysNothing(Server):
    def answer(self) -> None:
        self.send(200, "text/event-stream", b"data: [DONE]\n\n")


class IsNoLLM(Server):
    def answer(self) -> None:
        self.send(200, "text/html", b"<html>hello</html>")


class SendsNonsense(Server):
    def answer(self) -> None:
        self.send(200, "text/event-stream", b"data: {nonsense\n\n")


class SendsAnError(Server):
    def answer(self) -> None:
        self.send(200, "text/event-stream", b'data: {"error": {"message": "' + KEY.encode() + b'"}}\n\n')


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (refusal(401), "it refused the key in OPENAI_API_KEY (HTTP 401)"),
        (refusal(404), "it has no such model or address (HTTP 404)"),
        (refusal(400), "HTTP 400"),
        (BreaksOff, "its answer broke off ("),
        (SaysNothing, "it sent no text"),
        (IsNoLLM, "it sent no text"),
        (SendsNonsense, "its answer broke off ("),
        (SendsAnError, "its answer broke off ("),
    ],
)
def test_a_server_that_fails(limiar: Run, db: Path, serve: Serve, server: type[Server], reason: str) -> None:
    with serve(server) as url:
        done = ask(limiar, db, url)
    assert f"no answer from m at 127.0.0.1:{url.split(':')[2][:-3]}: {reason}" in done.stdout
    assert "─ [1] Repactuação em contratos de mão de obra" in done.stdout
    assert done.stderr == ""


def test_a_server_that_is_down(limiar: Run, db: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    done = ask(limiar, db, f"http://user:password@127.0.0.1:{port}/v1")
    assert f"no answer from m at 127.0.0.1:{port}: it cannot be reached" in done.stdout
    assert "─ [1] Repactuação em contratos de mão de obra" in done.stdout
    assert "password" not in done.stdout


def test_without_openai_the_line_to_install_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert main(["demo", "--question", "quorum"]) == 2
    assert "pip install 'limiar[openai]'" in capsys.readouterr().err
