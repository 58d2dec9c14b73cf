"""A small OpenAI-compatible server: real HTTP on a real socket, with answers that the test chooses."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LlmServer:
    """Answers plain requests with `plain`, streamed ones with `pieces`.

    Attributes:
        dies_after: so many pieces into a stream, the connection is cut; None: it ends properly.
        requests: the bodies received.
        keys: the Authorization headers received.
    """

    def __init__(self, *, plain: str, pieces: list[str], dies_after: int | None = None) -> None:
        self.plain = plain
        self.pieces = pieces
        self.dies_after = dies_after
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        self.url = ""

    @property
    def streamed(self) -> list[dict]:
        return [body for body in self.requests if body.get("stream")]

    @property
    def unstreamed(self) -> list[dict]:
        return [body for body in self.requests if not body.get("stream")]

    @contextmanager
    def running(self) -> Iterator["LlmServer"]:
        llm = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                assert self.path == "/v1/chat/completions"
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                llm.requests.append(body)
                llm.keys.append(self.headers["Authorization"])
                if body.get("stream"):
                    self.stream()
                else:
                    self.answer()

            def answer(self) -> None:
                message = {"role": "assistant", "content": llm.plain}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                payload = json.dumps(
                    {"id": "1", "object": "chat.completion", "created": 0, "model": "test", "choices": [choice]}
                ).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def stream(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for piece in llm.pieces[: llm.dies_after]:
                    self.event({"role": "assistant", "content": piece}, None)
                if llm.dies_after is None:
                    self.event({}, "stop")
                    self.chunk(b"data: [DONE]\n\n")
                    self.chunk(b"")
                self.close_connection = True

            def event(self, delta: dict, finish_reason: str | None) -> None:
                choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
                event = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "test"}
                self.chunk(f"data: {json.dumps({**event, 'choices': [choice]})}\n\n".encode())

            def chunk(self, data: bytes) -> None:
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
