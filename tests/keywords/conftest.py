"""A server that speaks OpenAI's chat API and misbehaves on demand, over real HTTP."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from limiar import ExpansionStore, OpenAIChat

KEY = "sk-test-0123456789-secret"
GOOD = json.dumps({"keywords": [{"term": "licitação", "synonyms": ["certame"]}, {"term": "contrato", "synonyms": []}]})
_DOCUMENT = re.compile(r"<document[o]?>\n(.*?)\n</documento?>", re.DOTALL)


@dataclass
class Reply:
    """An HTTP answer. `status` 0 drops the connection, halfway through the body if there is one."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def said(text: object, finish: str = "stop", **more: object) -> Reply:
    """A completion that says `text`."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **more}}
    usage = {"prompt_tokens": 100, "completion_tokens": 20}
    return Reply(body=json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}))


def refused(status: int, code: str | None = None, message: str = "no", **headers: str) -> Reply:
    body = json.dumps({"error": {"message": message, "code": code}})
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


@dataclass
class Server:
    """What it saw and what it will do: `answer` for each document, after the `faults` in turn."""

    url: str
    faults: list[Reply] = field(default_factory=list)
    answer: Callable[[str], Reply] = lambda _: said(GOOD)
    seconds: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def asked(self) -> Counter[str]:
        """How often each document was sent."""
        with self.lock:
            return Counter(self.documents)

    def reply(self, request: dict[str, Any]) -> Reply:
        found = _DOCUMENT.search(request["messages"][1]["content"])
        document = found[1] if found else ""
        with self.lock:
            self.requests.append(request)
            self.documents.append(document)
            fault = self.faults.pop(0) if self.faults else None
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
        time.sleep(self.seconds)
        with self.lock:
            self.at_once -= 1
        return fault or self.answer(document)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet for each answer, and no wait for its acknowledgement
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request["authorization"] = self.headers["Authorization"]
            request["path"] = self.path
            reply = state.reply(request)
            body = reply.body.encode()
            if reply.status == 0 and not body:
                self.close_connection = True
                return
            self.send_response(reply.status or 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if reply.status else body[: len(body) // 2])
            self.close_connection = reply.status == 0

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    state = Server(f"http://127.0.0.1:{httpd.server_port}/v1")
    threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield state
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def chat(server: Server) -> Iterator[OpenAIChat]:
    chat = OpenAIChat("fake", base_url=server.url, api_key=KEY, timeout=10)
    yield chat
    chat.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ExpansionStore]:
    store = ExpansionStore(tmp_path / "expansions.sqlite")
    yield store
    store.close()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
