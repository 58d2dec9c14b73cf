"""`HybridIndex` with its vectors at a real Chroma server, which goes away and comes back."""

from __future__ import annotations

import json
import threading

import chromadb
import pytest

from limiar import AddReport, HybridIndex, IndexDocument
from limiar.errors import ArmError, ConfigurationError, StoreUnreachableError
from limiar.testing import WordsEncoder

pytest.importorskip("tantivy")

ARMS = ("bm25", "dense")


def documents(numbers):
    return [IndexDocument(f"d{n}", {"text": f"pregão número {n}"}, {"n": n}) for n in numbers]


def found_by(index, arm, query, k=10, **options):
    weights = {name: float(name == arm) for name in ARMS}
    return [hit.document.id for hit in index.search(query, k, weights=weights, **options).hits]


def opened(folder, encoder, **options):
    return HybridIndex.open(folder, encoder=encoder, **options)


@pytest.fixture
def remote(server, tmp_path, encoder):
    with HybridIndex.create(
        tmp_path / "index", views={"bm25": ("text", "both"), "dense": ("text",)}, encoder=encoder, chroma=server.url
    ) as index:
        index.add(documents(range(10)))
        yield index


def client_of(server):
    settings = chromadb.Settings(anonymized_telemetry=False)
    return chromadb.HttpClient(host="127.0.0.1", port=int(server.url.rpartition(":")[2]), settings=settings)


def test_vectors_at_a_server(remote, server, encoder) -> None:
    folder = remote.folder
    assert remote.stats().place == server.url
    assert not (folder / "chroma").exists()
    for arm in ARMS:
        assert found_by(remote, arm, "pregão número 7", 1) == ["d7"]
        assert found_by(remote, arm, "pregão", 20, filter={"n": {"$lt": 4}}, candidates=20) != []
    assert remote.delete(["d1"]) == 1
    assert remote.verify().healthy
    remote.close()
    collection = json.loads((folder / "manifest.json").read_text())["collections"]["text"]
    entries = client_of(server).get_collection(collection).get(include=["documents", "metadatas"])
    assert len(entries["ids"]) == 9
    assert not any(entries["documents"])
    assert not any(entries["metadatas"])
    with opened(folder, encoder) as again, opened(folder, encoder, read_only=True) as reader:
        again.add([IndexDocument("new", {"text": "leilão de bens"})])
        for index in (again, reader):
            assert found_by(index, "dense", "leilão de bens", 1) == ["new"]
            assert index.verify().healthy


def test_a_server_that_goes_away_and_comes_back(remote, server, encoder) -> None:
    server.kill()
    with pytest.raises(ArmError, match=f"arm 'dense' failed: StoreUnreachableError: .*{server.url} does not answer"):
        remote.search("pregão")
    result = remote.search("pregão", on_error="skip")
    assert len(result.hits) == 10
    assert result.skipped["dense"].startswith("StoreUnreachableError: the Chroma server")
    health = remote.verify()
    assert "does not answer" in health.arms[1].failure
    assert health.arms[0].failure == ""
    with pytest.raises(StoreUnreachableError, match="does not answer"):
        remote.add(documents(range(10, 15)))
    assert (len(remote), len(remote.search("pregão", 20, on_error="skip").hits)) == (10, 10)
    with pytest.raises(StoreUnreachableError, match="does not answer"):
        remote.repair()
    with pytest.raises(StoreUnreachableError):
        remote.set_generated({"d1": {"keywords": "leilão"}})

    server.start()
    assert found_by(remote, "dense", "pregão número 7", 1) == ["d7"], "the same open index works again"
    assert remote.add(documents(range(10, 15))) == AddReport(added=5), "its vectors were made, and kept"
    assert len(encoder.embedded) == 15
    assert remote.verify().healthy


def test_deleting_while_the_server_is_away(remote, server) -> None:
    server.kill()
    with pytest.raises(StoreUnreachableError):
        remote.delete(["d3"])
    assert "d3" not in remote
    assert "d3" not in [hit.document.id for hit in remote.search("número 3", 20, on_error="skip").hits]
    server.start()
    assert len(found_by(remote, "dense", "pregão", 9, candidates=9)) == 9, "what is deleted takes no place"
    assert remote.verify().unfinished == 1
    remote.add([])
    assert remote.verify().healthy


def test_a_server_killed_in_the_midst_of_searches(remote, server) -> None:
    outcomes, started = [], threading.Event()

    def search():
        for _ in range(30):
            outcomes.append(remote.search("pregão", on_error="skip").skipped.get("dense", "")[:21])
            if len(outcomes) >= 10:
                started.set()

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert started.wait(60)
    server.kill()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 90
    assert set(outcomes) <= {"", "StoreUnreachableError"}
    server.start()
    assert remote.search("pregão").skipped == {}


def test_opening_while_the_server_is_away(remote, server, encoder, tmp_path, caplog) -> None:
    folder = remote.folder
    remote.close()
    server.kill()
    with opened(folder, encoder) as index:
        assert "arm dense of the index cannot be used (StoreUnreachableError); see verify()" in caplog.text
        assert len(index.search("pregão", on_error="skip").hits) == 10
        with pytest.raises(ArmError, match="does not answer"):
            index.search("pregão")
        server.start()
        assert found_by(index, "dense", "pregão número 7", 1) == ["d7"]
    server.kill()
    with pytest.raises(StoreUnreachableError, match=f"{server.url} does not answer"):
        HybridIndex.create(tmp_path / "new", encoder=encoder, chroma=server.url)
    server.start()
    with HybridIndex.create(tmp_path / "new", encoder=encoder, chroma=server.url) as index:
        assert index.verify().healthy


def test_a_server_that_lost_its_collection(remote, server, encoder) -> None:
    client = client_of(server)
    client.delete_collection(remote._dense._collections["text"])
    assert "does not exist" in remote.verify().arms[1].failure
    with pytest.raises(ArmError, match="StoreDamagedError"):
        remote.search("pregão")
    assert remote.repair().healthy
    assert found_by(remote, "dense", "pregão número 7", 1) == ["d7"]
    assert len(encoder.embedded) == 10


def test_entries_changed_at_the_server(remote, server) -> None:
    collection = client_of(server).get_collection(remote._dense._collections["text"])
    collection.delete(ids=collection.get(limit=2)["ids"])
    collection.add(ids=["999"], embeddings=[[1.0] * 64])
    assert str(remote.verify()) == "10 documents\nbm25: in order\ndense: 2 missing, 1 extra"
    assert remote.repair().healthy


def test_a_client_of_the_callers(server, tmp_path, encoder) -> None:
    client = client_of(server)
    with HybridIndex.create(tmp_path / "i", encoder=encoder, chroma=client) as index:
        index.add(documents(range(3)))
        assert index.stats().place == "client"
    assert client.heartbeat() > 0, "it stays open"
    with pytest.raises(ConfigurationError, match="give one to the same server as chroma="):
        opened(tmp_path / "i", encoder)
    with opened(tmp_path / "i", encoder, chroma=client) as index:
        assert found_by(index, "dense", "pregão número 2", 1) == ["d2"]
    with opened(tmp_path / "i", encoder, chroma=server.url) as index:
        assert index.verify().healthy


def test_a_server_without_the_collections(server, tmp_path, encoder, remote) -> None:
    folder = remote.folder
    remote.close()
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace("-text", "-moved"))
    with HybridIndex.open(folder, encoder=WordsEncoder()) as index:
        assert "does not exist" in index.verify().arms[1].failure
        assert index.repair().healthy
        assert found_by(index, "dense", "pregão número 2", 1) == ["d2"]
