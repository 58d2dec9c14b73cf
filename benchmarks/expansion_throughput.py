"""How much of an ideal server's throughput reaches the store when documents are expanded.

    python benchmarks/expansion_throughput.py [--documents 16000] [--concurrency 32] [--latency 0.05]

A server in a process of its own answers each call `latency` seconds after it came, any number at a time, so the ideal
is concurrency / latency documents a second. It counts how often each document was asked about. The run is cut into
quarters by the progress it reports; memory is this process's resident set at the end of each (Linux only). `--client`
sends by the openai package instead of limiar's own connections.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from limiar import Expander, ExpansionPrompt, ExpansionReport, ExpansionStore, OpenAIChat

_NUMBER = re.compile(rb"Processo (\d+):")
_ANSWER = {
    "keywords": [
        {"term": f"{term} do processo", "synonyms": ["outra forma", "sigla", "termo comum"]}
        for term in ("licitação", "contrato", "pregão", "dispensa", "aditivo", "fiscal", "preço", "edital", "recurso")
    ]
}
_COMPLETION = json.dumps(
    {
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": json.dumps(_ANSWER)}}],
        "usage": {"prompt_tokens": 420, "completion_tokens": 180},
    }
).encode()
_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


class FakeServer(asyncio.Protocol):
    """Just enough of HTTP/1.1 to answer without being the bottleneck itself."""

    def __init__(self, latency: float, asked: Counter[bytes]) -> None:
        self._latency = latency
        self._asked = asked
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport if isinstance(transport, asyncio.Transport) else None

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, rest = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
        if not blank or len(rest) < length:
            return
        self._received = b""
        if number := _NUMBER.search(rest):
            self._asked[number[1]] += 1
        asyncio.get_running_loop().call_later(self._latency, self._answer)

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_RESPONSE % (len(_COMPLETION), _COMPLETION))


def serve(pipe: Connection, latency: float) -> None:
    """Serve until the other end of the pipe asks for the counts."""
    asked: Counter[bytes] = Counter()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: FakeServer(latency, asked), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await loop.run_in_executor(None, pipe.recv)
        pipe.send((len(asked), sum(asked.values()), max(asked.values(), default=0)))
        server.close()

    asyncio.run(main())


class Documents:
    """So many different documents, made as they are read."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[str, str]]:
        text = "licitação dispensada por valor; contrato de suporte de infraestrutura com aditivo de prazo. " * 8
        return ((str(number), f"Processo {number}: {text}") for number in range(self._count))


class Quarters:
    """Notes time and memory as the run passes each quarter."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float, float]] = []

    def __call__(self, report: ExpansionReport) -> None:
        if report.settled >= (len(self.seen) + 1) * (report.total or 0) / 4:
            self.seen.append((report.settled, report.seconds, resident_mb()))


def resident_mb() -> float:
    """Megabytes of memory that this process occupies; 0 where that cannot be read."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * 4096 / 1e6


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=16_000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds")
    parser.add_argument("--client", action="store_true", help="send by the openai package")
    args = parser.parse_args(argv)
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, args.latency), daemon=True)
    server.start()
    chat = chat_of(f"http://127.0.0.1:{here.recv()}/v1", by_client=args.client)
    quarters = Quarters()
    with tempfile.TemporaryDirectory() as folder:
        store = ExpansionStore(Path(folder) / "store.sqlite")
        expander = Expander(chat, store, ExpansionPrompt(), concurrency=args.concurrency)
        before, cpu = resident_mb(), time.process_time()
        report = expander.run(Documents(args.documents), progress=quarters)
        cpu = time.process_time() - cpu
        kept = store.stats()["done"]
        size = store.path.stat().st_size
        again = expander.run(Documents(args.documents))
        store.close()
    here.send("stop")
    asked, calls, most = here.recv()
    server.join()
    show(report, args.concurrency / args.latency, cpu)
    print(f"asked about {asked:,} different documents in {calls:,} calls, none more than {most} times; {kept:,} kept")
    print(f"store: {size / 1e6:.1f} MB; a second run reused {again.reused:,} in {again.seconds:.1f} s")
    print(f"memory: {before:.0f} MB before", *(f"{mb:.0f} MB at {done:,}" for done, _, mb in quarters.seen), sep=", ")


def chat_of(base_url: str, *, by_client: bool) -> OpenAIChat:
    """The client to measure."""
    if not by_client:
        return OpenAIChat("fake", base_url=base_url)
    import openai

    return OpenAIChat("fake", client=openai.OpenAI(base_url=base_url, api_key="none"))


def show(report: ExpansionReport, ideal: float, cpu: float) -> None:
    """Print the throughput."""
    rate = report.done / report.seconds
    print(report)
    print(f"{rate:.0f} documents a second, {rate / ideal:.1%} of the ideal {ideal:.0f}", end="; ")
    print(f"{1000 * cpu / max(1, report.done):.2f} ms of processor time for each")


if __name__ == "__main__":
    main()
