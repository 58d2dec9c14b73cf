"""`verify` and `repair`, and what damage, kills, full disks and read-only folders leave of a `HybridIndex`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import chromadb
import pytest

from limiar import BM25Index, HybridIndex, IndexDocument
from limiar.errors import (
    ArmError,
    ConfigurationError,
    StoreDamagedError,
    StoreError,
    StoreLockedError,
    StoreNotFoundError,
    StoreVersionError,
    StoreWriteError,
)
from limiar.testing import WordsEncoder

pytest.importorskip("tantivy")
pytest.importorskip("filelock")
posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and mounts")

ARMS = ("bm25", "dense")
GENERATED = {"d3": {"keywords": "compra emergencial"}}
SMALL, LARGE = 60, 1200
"""Documents; of the larger number Chroma has written a graph."""


def documents(numbers, text="pregão eletrônico número"):
    return [IndexDocument(f"d{n}", {"text": f"{text} {n}, ata {n % 41}, lote {n % 37}"}, {"n": n}) for n in numbers]


def found_by(index, arm, query, k=10, **options):
    weights = {name: float(name == arm) for name in ARMS}
    return [hit.document.id for hit in index.search(query, k, weights=weights, **options).hits]


def build(folder, count):
    with HybridIndex.create(
        folder, views={"bm25": ("text", "both"), "dense": ("text",)}, encoder=WordsEncoder()
    ) as index:
        index.add(documents(range(count)))
        index.set_generated(GENERATED)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built") / "index", SMALL)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return build(tmp_path_factory.mktemp("large") / "index", LARGE)


@pytest.fixture
def folder(built, tmp_path):
    return shutil.copytree(built, tmp_path / "index")


def opened(folder, **options):
    return HybridIndex.open(folder, encoder=WordsEncoder(), **options)


def assert_repairs(index, count=SMALL):
    """`repair` mends it, embeds nothing, and both arms find again what there is, generated texts too."""
    told = []
    assert not index.verify().healthy
    health = index.repair(progress=lambda *at: told.append(at))
    assert health.healthy, str(health)
    assert told == sorted(told)
    assert not told or told[-1][0] == told[-1][1]
    assert index._encoder.embedded == []
    assert_in_order(index, count)


def assert_in_order(index, count=SMALL):
    ids = [f"d{n}" for n in (*range(3), *range(4, count), 3)]
    assert index.ids() == ids
    assert sorted(found_by(index, "bm25", "pregão", 2000)) == sorted(ids)
    nearest = found_by(index, "dense", "pregão", 2000)
    assert set(nearest) <= set(ids)
    assert len(set(nearest)) == len(nearest) > 0.95 * count, "approximate, by its nature"
    assert found_by(index, "bm25", "emergencial") == ["d3"]
    assert index.get(["d3"])[0].generated == GENERATED["d3"]


# Arms that disagree


def test_entries_taken_from_or_put_into_bm25_behind_its_back(folder) -> None:
    with BM25Index.open(folder / "bm25") as bm25:
        bm25.delete(["5", "6"])
        bm25.add([IndexDocument("999999", {"text": "intruso"})])
    with opened(folder) as index:
        assert found_by(index, "bm25", "intruso") == [], "an entry of no document is passed over"
        health = index.verify()
        bm25, dense = health.arms
        assert (bm25.arm, bm25.missing, bm25.extra, bm25.failure) == ("bm25", 2, 1, "")
        assert (dense.arm, dense.missing, dense.extra, dense.failure) == ("dense", 0, 0, "")
        assert str(health) == f"{SMALL} documents\nbm25: 2 missing, 1 extra\ndense: in order"
        assert_repairs(index)


def chroma_collection(folder):
    client = chromadb.PersistentClient(str(folder / "chroma"), settings=chromadb.Settings(anonymized_telemetry=False))
    return client, client.list_collections()[0]


def test_entries_taken_from_or_put_into_chroma_behind_its_back(folder) -> None:
    client, collection = chroma_collection(folder)
    collection.delete(ids=["5", "6", "7"])
    collection.add(ids=["999999"], embeddings=[[1.0] * 64])
    client.close()
    with opened(folder) as index:
        assert str(index.verify()) == f"{SMALL} documents\nbm25: in order\ndense: 3 missing, 1 extra"
        assert_repairs(index)


def test_a_vector_changed_behind_its_back(folder) -> None:
    client, collection = chroma_collection(folder)
    collection.update(ids=["7"], embeddings=[[1.0] * 64])
    client.close()
    with opened(folder) as index:
        assert "dense: 1 vectors in Chroma are not those of the documents" in str(index.verify())
        assert_repairs(index)


def test_repair_of_nothing(folder) -> None:
    with opened(folder) as index:
        told = []
        assert index.repair(progress=lambda *at: told.append(at)).healthy
        assert told == []
        assert_in_order(index)


# Arms that are damaged or gone


def graph_file(folder, name):
    return next((folder / "chroma").rglob(name))


def cut(path, part=3):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // part])


BM25_HARM = {
    "folder gone": lambda folder: shutil.rmtree(folder / "bm25"),
    "engine gone": lambda folder: shutil.rmtree(folder / "bm25" / "tantivy"),
    "manifest damaged": lambda folder: (folder / "bm25" / "manifest.json").write_text("{"),
    "a file cut": lambda folder: cut(next((folder / "bm25" / "tantivy").glob("*.store"))),
    "another analyzer": lambda folder: another_analyzer(folder / "bm25" / "manifest.json"),
    "a file in its place": lambda folder: (shutil.rmtree(folder / "bm25"), (folder / "bm25").write_text("?")),
}
CHROMA_HARM = {
    "folder gone": lambda folder: shutil.rmtree(folder / "chroma"),
    "database gone": lambda folder: (folder / "chroma" / "chroma.sqlite3").unlink(),
    "database empty": lambda folder: (folder / "chroma" / "chroma.sqlite3").write_bytes(b""),
    "database foreign": lambda folder: (folder / "chroma" / "chroma.sqlite3").write_bytes(b"no database" * 999),
    "database cut": lambda folder: cut(folder / "chroma" / "chroma.sqlite3"),
    "a file in its place": lambda folder: (shutil.rmtree(folder / "chroma"), (folder / "chroma").write_text("?")),
}
GRAPH_HARM = {
    "gone": lambda folder: shutil.rmtree(graph_file(folder, "data_level0.bin").parent),
    "a file gone": lambda folder: graph_file(folder, "data_level0.bin").unlink(),
    "header damaged": lambda folder: graph_file(folder, "header.bin").write_bytes(b"\0" * 100),
}


def another_analyzer(manifest):
    facts = json.loads(manifest.read_text())
    facts["analyzer"]["fingerprint"] = "0"
    manifest.write_text(json.dumps(facts))


@pytest.mark.parametrize("harm", BM25_HARM)
def test_bm25_damaged(folder, harm) -> None:
    BM25_HARM[harm](folder)
    with opened(folder) as index:
        assert index.verify().arms[0].failure
        assert index.verify().arms[1].failure == ""
        with pytest.raises(ArmError, match="arm 'bm25' failed: Store"):
            index.search("pregão")
        result = index.search("pregão número 7", on_error="skip")
        assert len(result.hits) == 10
        assert result.skipped["bm25"].startswith("Store")
        assert_repairs(index)
    with opened(folder) as index:
        assert_in_order(index)


@pytest.mark.parametrize("harm", CHROMA_HARM)
def test_chroma_damaged(folder, harm) -> None:
    CHROMA_HARM[harm](folder)
    with opened(folder) as index:
        assert index.verify().arms[0].failure == ""
        assert index.verify().arms[1].failure
        result = index.search("pregão número 7", on_error="skip")
        assert len(result.hits) == 10
        assert_repairs(index)
    with opened(folder) as index:
        assert_in_order(index)


@pytest.mark.parametrize("harm", GRAPH_HARM)
def test_the_graph_damaged(large, tmp_path, harm) -> None:
    folder = shutil.copytree(large, tmp_path / "index")
    GRAPH_HARM[harm](folder)
    with opened(folder) as index:
        assert index.verify().arms[1].failure
        assert len(index.search("pregão número 7", on_error="skip").hits) == 10
        assert_repairs(index, LARGE)
    with opened(folder) as index:
        assert_in_order(index, LARGE)


@posix_only
@pytest.mark.parametrize("arm", ["bm25", "chroma"])
def test_an_arm_deleted_while_the_index_is_open(folder, arm) -> None:
    with opened(folder) as index:
        index.search("pregão")
        shutil.rmtree(folder / arm)
        assert_repairs(index)
        index.delete(["d50"])
        index.add(documents([50]))
        assert index.verify().healthy


def test_both_arms_gone(folder) -> None:
    for arm in ("bm25", "chroma"):
        shutil.rmtree(folder / arm)
    with opened(folder) as index:
        with pytest.raises(ArmError, match=r"every arm failed: bm25: Store.*; dense: Store"):
            index.search("pregão", on_error="skip")
        assert len(index) == SMALL
        with pytest.raises(StoreError):
            index.add(documents([5000]))
        index._encoder.embedded.clear()
        assert_repairs(index)


# The documents, the manifest


@pytest.mark.parametrize("harm", ["gone", "foreign", "empty"])
def test_documents_that_are_damaged(folder, harm) -> None:
    path = folder / "documents.sqlite"
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(b"no database" * 999 if harm == "foreign" else b"")
    with pytest.raises(StoreDamagedError, match=r"documents.sqlite .*; restore it from a backup, or rebuild the index"):
        opened(folder)
    shutil.rmtree(folder)


def test_verify_reads_all_the_documents(large, tmp_path) -> None:
    folder = shutil.copytree(large, tmp_path / "index")
    path = folder / "documents.sqlite"
    data = bytearray(path.read_bytes())
    for position in range(len(data) // 2, len(data) * 3 // 4):
        data[position] ^= 0x55
    path.write_bytes(data)
    with opened(folder) as index:
        for call in (index.verify, index.repair):
            with pytest.raises(StoreDamagedError, match="restore it from a backup, or rebuild the index"):
                call()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"version": 99}, StoreVersionError, "format version 99; this limiar reads up to 1: upgrade"),
        ({"version": "1"}, StoreDamagedError, "has version '1'"),
        ({"format": "limiar-bm25"}, StoreDamagedError, "is no manifest of a limiar-hybrid index"),
        ({"fields": {}}, StoreDamagedError, "is damaged"),
        ({"language": "xx"}, StoreDamagedError, "is damaged"),
        ({"collections": None}, StoreDamagedError, "is damaged"),
        ({"collections": {"title": "x"}}, StoreDamagedError, "is damaged"),
        ({"encoder": "limiar/other"}, ConfigurationError, "was made with the encoder 'limiar/other', not"),
        ({"chroma": "client"}, ConfigurationError, "was made with a Chroma client; give one"),
    ],
)
def test_a_foreign_newer_or_damaged_manifest(built, tmp_path, change, error, message) -> None:
    manifest = json.loads((built / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(error, match=message):
        opened(tmp_path)


def test_the_wrong_encoder_and_a_place_in_vain(built) -> None:
    with pytest.raises(ConfigurationError, match="was made with the encoder 'limiar/words', not 'other'; give that"):
        HybridIndex.open(built, encoder=WordsEncoder(model_id="other"))
    with pytest.raises(ConfigurationError, match="keeps its vectors in itself; leave chroma= out"):
        opened(built, chroma="http://localhost:8000")


def test_folders_that_are_no_index(built, tmp_path) -> None:
    with pytest.raises(StoreNotFoundError, match="no limiar-hybrid index"):
        opened(tmp_path / "nowhere")
    with pytest.raises(StoreDamagedError, match="is no manifest of a limiar-hybrid index"):
        opened(built / "bm25")
    with pytest.raises(StoreError, match="already holds an index"):
        HybridIndex.create(built, encoder=WordsEncoder())
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"holds other files \(notes.txt\)"):
        HybridIndex.create(tmp_path, encoder=WordsEncoder())
    with pytest.raises(StoreWriteError, match="cannot be made"):
        HybridIndex.create(tmp_path / "notes.txt" / "index", encoder=WordsEncoder())


def test_create_again_after_a_create_that_was_killed(folder) -> None:
    (folder / "manifest.json").unlink()
    with HybridIndex.create(folder, encoder=WordsEncoder()) as index:
        assert index.verify().healthy
        assert len(index) == 0


def test_a_second_writer_is_refused(folder, run_program) -> None:
    program = """
try: HybridIndex.open(sys.argv[1], encoder=WordsEncoder())
except StoreLockedError as error: print(error)
"""
    with opened(folder):
        expected = f"another writer has {folder} open; close it first, or in Python open this one with read_only=True"
        with pytest.raises(StoreLockedError) as caught:
            opened(folder)
        assert str(caught.value) == expected
        assert run_program(program, folder) == expected + "\n"
    opened(folder).close()


# Killed

DIES_BETWEEN_STEPS = """
folder, steps = sys.argv[1], sys.argv[2].split()
def die(*arguments): os.kill(os.getpid(), signal.SIGKILL)
def first_then_die(function): return lambda *arguments: (function(*arguments), die())
def write_until(step):
    index = HybridIndex.open(folder, encoder=WordsEncoder())
    where, _, method = step.rpartition(".")
    part = {"bm25": index._bm25, "dense": index._dense, "store": index._store}[where.lstrip("+")]
    original = getattr(part, method)
    setattr(part, method, first_then_die(original) if where[0] == "+" else die)
    if step.endswith("delete"):
        index.delete(["d0"])
    else:
        index.add([IndexDocument(f"d{n}", {"text": f"leilão {step} {n}"}) for n in range(5)])
def look(step):
    encoder = WordsEncoder()
    with HybridIndex.open(folder, encoder=encoder, read_only=True) as reader:
        before = reader.verify()
        arms = [{h.document.text for h in reader.search(step + " leilão pregão", 5, weights={a: 0}).hits}
                for a in reader.arms]
    with HybridIndex.open(folder, encoder=encoder) as index:
        texts = {it.text for it in index.get([f"d{n}" for n in range(5)])}
        mended = index.repair()
        assert mended.healthy, mended
        print(step, len(index), sum(step in text for text in texts), before.unfinished, before.healthy,
              *[found <= texts and len(found) for found in arms], encoder.embedded, sep="|")
        index.add([IndexDocument(f"d{n}", {"text": f"pregão eletrônico número {n}"}, {"n": n}) for n in range(5)])
for step in steps:
    status = ended(forked(lambda: write_until(step)))
    assert status == -signal.SIGKILL, status
    assert ended(forked(lambda: look(step))) == 0
"""


@posix_only
def test_killed_between_any_two_steps(folder, run_program) -> None:
    with opened(folder) as index:
        index.delete(f"d{n}" for n in range(5, SMALL))
    steps = ["store.reserve", "bm25.put", "dense.put", "+dense.put", "store.switch", "+store.switch", "bm25.remove",
             "dense.remove", "store.empty_trash", "+store.delete"]  # fmt: skip
    lines = run_program(DIES_BETWEEN_STEPS, folder, " ".join(steps)).splitlines()
    assert [line.split("|")[0] for line in lines] == steps
    for line in lines:
        step, count, new, unfinished, healthy, by_dense, by_bm25, embedded = line.split("|")
        committed = steps.index(step) >= steps.index("+store.switch")
        deleted = step == "+store.delete"
        assert int(count) == (4 if deleted else 5), line
        assert int(new) == (5 if committed and not deleted else 0), line
        assert healthy == str(step == "store.reserve"), line
        assert (unfinished == "0") == (step == "store.reserve"), line
        assert (by_dense, by_bm25) == (count, count), f"a search finds all there are, and nothing else: {line}"
        assert embedded == "[]"


KILLED_AT_RANDOM = """
import random
from limiar.retrieval import index_writer
index_writer.BATCH = 40
folder, log = sys.argv[1:]
class Paying(WordsEncoder):
    def embed_documents(self, texts, *, progress=None):
        with open(log, "a") as bill:
            bill.write("".join(f"{text}\\n" for text in texts))
        return super().embed_documents(texts)
def document(n): return IndexDocument(f"d{n}", {"text": f"concorrência pública {n} lote {n % 37} ata {n % 41}"})
def endless(start):
    while True:
        yield document(start)
        start += 1
def write(start, pipe):
    index = HybridIndex.open(folder, encoder=Paying(512))
    def progress(done, total):
        if done % 40 == 0:
            os.write(pipe, b"%d\\n" % (start + done))
    index.add(endless(start), progress=progress)
def check(committed, pipe):
    index = HybridIndex.open(folder, encoder=Paying(512))
    there = len(index)
    assert committed <= there <= committed + 40, (committed, there)
    assert there % 40 == 0, "a batch is there whole or not at all"
    assert index.ids() == [f"d{n}" for n in range(there)]
    health = index.verify()
    if not health.healthy:
        assert index.repair().healthy
    for arm, least in (("dense", there), ("bm25", 0.8 * there)):  # approximate
        found = {hit.document.id for hit in index.search("concorrência", there or 1, weights={arm: 0}).hits}
        assert found <= set(index.ids()) and len(found) >= least, (arm, len(found), there)
    os.write(pipe, b"%d %d\\n" % (there, not health.healthy))
moments = random.Random(7)
there = unhealthy = 0
for _ in range(20):
    ours, theirs = os.pipe()
    writer = forked(lambda: write(there, theirs))
    os.close(theirs)
    lines = open(ours)
    lines.readline()
    time.sleep(moments.uniform(0.0, 0.25))
    os.kill(writer, signal.SIGKILL)
    assert ended(writer) == -signal.SIGKILL
    committed = max([there, *map(int, lines)])
    ours, theirs = os.pipe()
    assert ended(forked(lambda: check(committed, theirs))) == 0
    there, mended = map(int, open(ours).readline().split())
    unhealthy += mended
paid = open(log).read().splitlines()
assert len(paid) - len(set(paid)) <= 20 * 40
print(there, len(paid), len(set(paid)), unhealthy)
"""


@posix_only
def test_killed_at_20_random_moments_of_a_bulk_add(tmp_path, run_program) -> None:
    HybridIndex.create(tmp_path / "index", encoder=WordsEncoder(512)).close()
    there, paid, texts, _ = map(int, run_program(KILLED_AT_RANDOM, tmp_path / "index", tmp_path / "bill").split())
    assert there >= 40
    assert there <= texts <= paid


# Full disks and read-only folders


@pytest.fixture
def mount(tmp_path):
    """Mounts what the test asks for, if this user may."""
    mounted = []

    def mount(*arguments):
        place = tmp_path / "mounted"
        place.mkdir(exist_ok=True)
        command = ["mount", *arguments, place]
        if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("this user may not mount")
        if place not in mounted:
            mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", place], check=True)


FILLS_A_DISK = """
folder = sys.argv[1]
words = lambda n: " ".join(f"w{n * 97 + m}" for m in range(900))
big = lambda numbers: [IndexDocument(f"n{n}", {"text": words(n)}) for n in numbers]
index = HybridIndex.create(folder, encoder=WordsEncoder())
index.add([IndexDocument(f"d{n}", {"text": f"pregão número {n}"}) for n in range(50)])
kept = index.ids()
try:
    for batch in range(1000):
        index.add(big(range(batch * 50, batch * 50 + 50)))
        kept = index.ids()
except StoreError as error:
    print(type(error).__name__, "|", error)
assert index.ids() == kept
assert len(index.search("pregão", 100, weights={"dense": 0}).hits) == 50
try: index.delete(["d0"])
except StoreError: pass
else: kept.remove("d0")
%s
if not index.verify().healthy: assert index.repair().healthy
assert set(index.ids()) | {"d0"} == {*kept, "d0"}
index.add([IndexDocument("after", {"text": "pregão posterior"})])
assert index.verify().healthy
assert index.search("posterior", 1).hits[0].document.id == "after"
count = len(index)
index.close()
with HybridIndex.open(folder, encoder=WordsEncoder()) as index:
    assert index.verify().healthy and len(index) == count
"""


@posix_only
def test_a_full_disk(mount, run_program) -> None:
    disk = mount("-t", "tmpfs", "-o", "size=6m", "tmpfs")
    (disk / "ballast").write_bytes(b"\0" * 2_500_000)
    message = run_program(FILLS_A_DISK % "os.remove(os.path.join(folder, '..', 'ballast'))", disk / "index")
    assert message.startswith("StoreWriteError | ")
    assert "cannot be written" in message


@posix_only
def test_files_that_may_not_grow(tmp_path, run_program) -> None:
    """What a quota does, where one cannot mount a small disk."""
    program = FILLS_A_DISK.replace(
        "kept = index.ids()\ntry:",
        "kept = index.ids()\nlimits = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))\ntry:",
        1,
    )
    message = run_program(program % "resource.setrlimit(resource.RLIMIT_FSIZE, limits)", tmp_path / "index")
    assert message.startswith("StoreWriteError | ")
    assert "cannot be written" in message


@posix_only
def test_a_read_only_folder(folder, mount) -> None:
    place = mount("--bind", str(folder))
    mount("-o", "remount,ro,bind")
    with pytest.raises(StoreWriteError, match=r"cannot be written .*; open it with read_only=True to search"):
        opened(place)
    with opened(place, read_only=True) as index:
        assert_in_order(index)
        assert index.verify().healthy


def test_a_closed_index_is_whole_without_the_side_files_of_its_database(folder) -> None:
    opened(folder).close()
    assert not (folder / "documents.sqlite-wal").exists()
    assert not (folder / "documents.sqlite-shm").exists()
