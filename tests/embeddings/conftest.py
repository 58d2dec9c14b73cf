"""A server that speaks OpenAI's embeddings API and misbehaves on demand, over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

KEY = "sk-test-0123456789-secret"


def vector_of(text: str, dimensions: int) -> np.ndarray:
    """The vector that the server gives for a text: of length 1, and its own."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).normal(size=dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@dataclass
class Refusal:
    """An answer other than vectors. `status` 0 drops the connection, halfway through an answer if there is a body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: str = '{"error": {"message": "no", "code": null}}'


Fault = Refusal | Callable[[list[dict[str, Any]]], object]
"""A refusal, or what is done to the list of vectors before it is sent."""


@dataclass
class Server:
    """What it saw and what it will do."""

    url: str
    dimensions: int = 8
    faults: list[Fault] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    base64: bool = True
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def paid(self) -> Counter[str]:
        """How often each text was embedded."""
        with self.lock:
            return Counter(text for request in self.requests if request["paid"] for text in request["input"])

    def answer(self, request: dict[str, Any]) -> Refusal:
        with self.lock:
            fault = self.faults.pop(0) if self.faults else None
            request["paid"] = not isinstance(fault, Refusal)
            self.requests.append(request)
            self.times.append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
        time.sleep(self.seconds)
        with self.lock:
            self.at_once -= 1
        if isinstance(fault, Refusal):
            return fault
        data: object = [
            {"object": "embedding", "index": index, "embedding": self.embedding(text, request)}
            for index, text in enumerate(request["input"])
        ]
        if fault is not None:
            data = fault(data)  # type: ignore[arg-type]
        return Refusal(200, self.headers, json.dumps({"object": "list", "data": data, "model": request["model"]}))

    def embedding(self, text: str, request: dict[str, Any]) -> object:
        vector = vector_of(text, request.get("dimensions", self.dimensions))
        if self.base64 and request.get("encoding_format") == "base64":
            return base64.b64encode(vector.tobytes()).decode()
        return vector.tolist()


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request["authorization"] = self.headers["Authorization"]
            answer = state.answer(request)
            body = answer.body.encode()
            if answer.status == 0 and not body:
                self.close_connection = True
                return
            self.send_response(answer.status or 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if answer.status else body[: len(body) // 2])
            self.close_connection = answer.status == 0

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    state = Server(f"http://127.0.0.1:{httpd.server_port}/v1")
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield state
    httpd.shutdown()
    httpd.server_close()
