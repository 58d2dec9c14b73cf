"""Searches of `HybridIndex`: filters, fusion, arms that fail or are late, the event loop, threads and processes."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import random
import shutil
import subprocess
import threading

import pytest

from limiar import HybridIndex, IndexDocument
from limiar.errors import ArmError
from limiar.retrieval.filters import filter_terms, matches, parse_filter
from limiar.testing import WordsEncoder

pytest.importorskip("tantivy")
pytest.importorskip("chromadb")

ARMS = ("bm25", "dense")


def found(index, query, k=10, **options):
    return [hit.document.id for hit in index.search(query, k, **options).hits]


def found_by(index, arm, query, k=10, **options):
    return found(index, query, k, weights={name: float(name == arm) for name in ARMS}, **options)


class WaitingEncoder(WordsEncoder):
    """Embeds queries only while it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def embed_query(self, text):
        self.asked.set()
        assert self.may_answer.wait(60)
        return super().embed_query(text)


CHOICES = random.Random(11)


def random_metadata():
    values = {
        "year": lambda: CHOICES.choice([2018, 2019, 2020, 2020.5, True, None, "2020"]),
        "tags": lambda: CHOICES.sample(["obra", "serviço", "compra", 7], CHOICES.randrange(4)),
        "day": lambda: dt.date(2020, 1, 1) + dt.timedelta(days=CHOICES.randrange(60)),
    }
    return {key: value() for key, value in values.items() if CHOICES.random() < 0.8}


def random_filter(depth=0):
    kind = CHOICES.randrange(7 if depth < 2 else 4)
    if kind == 0:
        return {"year": CHOICES.choice([2019, 2020.0, None, True, "2020"])}
    if kind == 1:
        low, high = sorted(CHOICES.sample(range(2016, 2024), 2))
        return {"year": {CHOICES.choice(["$gt", "$gte"]): low, CHOICES.choice(["$lt", "$lte"]): high}}
    if kind == 2:
        return {"tags": {CHOICES.choice(["$in", "$nin"]): CHOICES.sample(["obra", "compra", 7, "nada"], 2)}}
    if kind == 3:
        day = dt.date(2020, 1, 1) + dt.timedelta(days=CHOICES.randrange(60))
        return {"day": {CHOICES.choice(["$gte", "$lt", "$ne"]): day}}
    if kind == 4:
        return {"$not": random_filter(depth + 1)}
    return {CHOICES.choice(["$and", "$or"]): [random_filter(depth + 1) for _ in range(2)]}


@pytest.fixture(scope="module")
def filtered(tmp_path_factory):
    """150 documents that every query below finds; their metadata."""
    given = {f"d{n}": random_metadata() for n in range(150)}
    with HybridIndex.create(tmp_path_factory.mktemp("filtered"), encoder=WordsEncoder()) as index:
        index.add(IndexDocument(i, {"text": f"licitação {i} {n}"}, it) for n, (i, it) in enumerate(given.items()))
        yield index, {identity: filter_terms(it, identity) for identity, it in given.items()}


def test_both_arms_filter_alike_and_bring_k(filtered) -> None:
    index, terms = filtered
    sizes = set()
    for _ in range(60):
        where = random_filter()
        passing = {identity for identity, it in terms.items() if matches(parse_filter(where), it)}
        sizes.add(len(passing))
        for arm in ARMS:
            assert set(found_by(index, arm, "licitação", 200, filter=where)) == passing, (arm, where)
            few = found_by(index, arm, "licitação", 7, candidates=7, filter=where)
            assert len(few) == min(7, len(passing)), (arm, where)
            assert set(few) <= passing
        assert len(found(index, "licitação", 7, candidates=7, filter=where)) == min(7, len(passing))
    assert len(sizes) > 20
    assert found(index, "licitação", 200, filter={}) == found(index, "licitação", 200)


def test_weights_fusion_and_candidates_of_a_call(filtered) -> None:
    index, _ = filtered
    lexical, dense = (found_by(index, arm, "licitação d77", 5) for arm in ARMS)
    assert lexical[0] == "d77"
    assert found(index, "licitação d77", 5, weights={"bm25": 1e6, "dense": 1e-6}, fusion="rrf") == lexical
    assert found(index, "licitação d77", 5, weights={"bm25": 1e-6, "dense": 1e6}) == dense
    for method in ("rrf", "relative", "distribution"):
        hits = index.search("licitação d77", 5, fusion=method).hits
        scores = [hit.fused.score for hit in hits]
        assert len(hits) == 5
        assert scores == sorted(scores, reverse=True)
        assert hits[0].document.id == "d77"
    near, far = (index.search("licitação d77", 5, fusion="rrf", rrf_k=k).hits[0].fused.score for k in (1, 1000))
    assert near == pytest.approx(1.0)
    assert far == pytest.approx(2 / 1001)
    one = index.search("d77", 1, candidates=1, weights={"dense": 0.5}).hits[0]
    assert one.fused.arms["bm25"].rank == 1


def test_an_arm_of_weight_0_is_not_asked(tmp_path) -> None:
    encoder = WordsEncoder()
    with HybridIndex.create(tmp_path / "i", encoder=encoder) as index:
        index.add([IndexDocument("1", {"text": "edital"})])
        encoder.error = RuntimeError("asked")
        result = index.search("edital", weights={"dense": 0})
        assert ([hit.document.id for hit in result.hits], result.skipped) == (["1"], {})


# Arms that fail or are late


@pytest.fixture
def waiting(tmp_path):
    encoder = WaitingEncoder()
    with HybridIndex.create(tmp_path / "i", encoder=encoder) as index:
        index.add(IndexDocument(f"d{n}", {"text": f"edital {n}"}, {"n": n}) for n in range(10))
        yield index, encoder
        encoder.may_answer.set()


def test_the_arms_are_asked_at_once(waiting, monkeypatch) -> None:
    index, encoder = waiting
    encoder.may_answer.clear()
    search = index._bm25.search

    def while_the_other_is_asked(*arguments):
        assert encoder.asked.wait(60)
        encoder.may_answer.set()
        return search(*arguments)

    monkeypatch.setattr(index._bm25, "search", while_the_other_is_asked)
    assert len(found(index, "edital")) == 10


def test_a_failing_arm(waiting, monkeypatch, caplog) -> None:
    index, encoder = waiting
    encoder.error = RuntimeError("no route to host")
    with pytest.raises(
        ArmError, match=r"arm 'dense' failed: EncoderError: the encoder 'limiar/words' failed"
    ) as caught:
        index.search("edital")
    assert caught.value.arms == ("dense",)
    with caplog.at_level(logging.WARNING, "limiar"):
        result = index.search("edital", on_error="skip")
    assert len(result.hits) == 10
    assert result.skipped == {"dense": "EncoderError: the encoder 'limiar/words' failed (RuntimeError)"}
    assert "arm dense skipped: EncoderError" in caplog.text
    shutil.rmtree(index.folder / "bm25")
    with pytest.raises(ArmError, match=r"every arm failed: bm25: StoreDamagedError: .*; dense: EncoderError"):
        index.search("edital", on_error="skip")
    encoder.error = None
    result = index.search("edital", on_error="skip")
    assert len(result.hits) == 10
    assert result.skipped.keys() == {"bm25"}


async def test_a_late_arm(waiting) -> None:
    index, encoder = waiting
    encoder.may_answer.clear()
    with pytest.raises(ArmError, match=r"arm 'dense' is late: no answer within 0\.2 s"):
        index.search("edital", timeout=0.2)
    result = await index.asearch("edital", timeout=0.2, on_error="skip")
    assert len(result.hits) == 10
    assert result.skipped == {"dense": "TimeoutError: no answer within 0.2 s"}
    encoder.may_answer.set()
    assert index.search("edital", timeout=60).skipped == {}


async def test_asearch_leaves_the_loop_free(waiting) -> None:
    index, encoder = waiting
    encoder.may_answer.clear()
    encoder.asked.clear()
    task = asyncio.create_task(index.asearch("edital 7", 3, filter={"n": {"$gte": 5}}))
    while not encoder.asked.is_set():  # noqa: ASYNC110  # it is set by another thread
        await asyncio.sleep(0.001)
    assert not task.done(), "the loop runs on while an arm is at work"
    encoder.may_answer.set()
    result = await task
    assert [hit.document.id for hit in result.hits] == found(index, "edital 7", 3, filter={"n": {"$gte": 5}})


async def test_many_at_once_do_not_wait_for_each_other(waiting) -> None:
    index, _ = waiting
    results = await asyncio.gather(*(index.asearch(f"edital {n % 10}", 3, timeout=60) for n in range(150)))
    assert [result.hits[0].document.id for result in results] == [f"d{n % 10}" for n in range(150)]


# Threads and processes


def test_threads_search_while_one_writes(tmp_path) -> None:
    """Nothing is missed, except that Chroma's graph alone, approximate as it is, may miss some of what is new."""
    ids = [f"d{n}" for n in range(40)]
    problems, searches, done = [], [], threading.Event()

    def documents(version):
        return [IndexDocument(it, {"text": f"edital {it} {version}"}, {"always": True}) for it in ids]

    def search(number):
        try:
            while not done.is_set():
                options = {"filter": {"always": True}} if number % 2 else {}
                arm = {"weights": {ARMS[number // 2 % 2]: 0.0}} if number >= 2 else {}
                hits = index.search("edital", 40, **arm, **options).hits
                found = [hit.document.id for hit in hits]
                by_dense_alone = number >= 2 and ARMS[number // 2 % 2] == "bm25"
                whole = len(found) >= len(ids) // 2 if by_dense_alone else len(found) == len(ids)
                if not whole or len(set(found)) < len(found):
                    problems.append((number, len(found), len(set(found))))
                searches.append(number)
        except Exception as error:
            problems.append(repr(error))

    with HybridIndex.create(tmp_path / "i", encoder=WordsEncoder()) as index:
        index.add(documents(0))
        threads = [threading.Thread(target=search, args=[number]) for number in range(6)]
        for thread in threads:
            thread.start()
        for version in range(1, 7):
            index.add(documents(version))
            index.add([IndexDocument(f"passing {version}", {"text": "outra coisa"})])
            index.delete([f"passing {version}"])
        done.set()
        for thread in threads:
            thread.join(60)
        assert index.verify().healthy
    assert problems == []
    assert set(searches) == set(range(6))


READS = """
index = HybridIndex.open(sys.argv[1], read_only=True, encoder=WordsEncoder())
for line in sys.stdin:
    ids = [",".join(sorted(hit.document.id for hit in index.search(line, 100, weights={arm: 0}).hits))
           for arm in index.arms]
    print(len(index), *ids, index.verify().healthy, flush=True)
"""


def test_readers_in_other_processes_see_each_commit(tmp_path, start_program) -> None:
    with HybridIndex.create(tmp_path / "i", encoder=WordsEncoder()) as index:
        index.add([IndexDocument("a", {"text": "edital"})])
        readers = [start_program(READS, tmp_path / "i", stdin=subprocess.PIPE) for _ in range(2)]

        def read():
            answers = []
            for reader in readers:
                reader.stdin.write("edital\n")
                reader.stdin.flush()
                answers.append(reader.stdout.readline())
            assert answers[0] == answers[1]
            return answers[0]

        assert read() == "1 a a True\n"
        index.add([IndexDocument("b", {"text": "edital b"})])
        assert read() == "2 a,b a,b True\n"
        index.delete(["a"])
        assert read() == "1 b b True\n"
        index.add(IndexDocument(f"c{n}", {"text": f"edital {n}"}) for n in range(3))
        index.add([IndexDocument("b", {"text": "edital novo"})])
        assert read() == "4 b,c0,c1,c2 b,c0,c1,c2 True\n"
        shutil.rmtree(tmp_path / "i" / "chroma")
        assert index.repair().healthy
        assert read() == "4 b,c0,c1,c2 b,c0,c1,c2 True\n", "also what a repair made anew"
        for reader in readers:
            _, err = reader.communicate(timeout=60)
            assert (reader.returncode, err) == (0, "")


def test_a_document_replaced_while_the_arms_are_asked(waiting, monkeypatch) -> None:
    """What they found is no document any more: they are asked again, and the query is not embedded again."""
    index, encoder = waiting
    search, embed, times, queries = index._bm25.search, encoder.embed_query, [], []

    def replaced_meanwhile(*arguments):
        hits = search(*arguments)
        if not times:
            index.add(IndexDocument(f"d{n}", {"text": f"edital {n} novo"}, {"n": n}) for n in range(10))
        times.append(len(hits))
        return hits

    monkeypatch.setattr(index._bm25, "search", replaced_meanwhile)
    encoder.embed_query = lambda text: queries.append(text) or embed(text)
    hits = index.search("edital", 10).hits
    assert sorted(hit.document.text for hit in hits) == [f"edital {n} novo" for n in range(10)]
    assert (times, queries) == ([10, 10], ["edital"])


def test_entries_of_an_unfinished_write_take_no_place(waiting, monkeypatch) -> None:
    index, _ = waiting
    monkeypatch.setattr(index._store, "switch", lambda by_key: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        index.add(IndexDocument(f"new{n}", {"text": "edital edital"}) for n in range(20))
    for arm in ARMS:
        assert set(found_by(index, arm, "edital", 10, candidates=10)) == {f"d{n}" for n in range(10)}
    assert len(found(index, "edital", 3, candidates=3)) == 3
    assert index.verify().unfinished == 20
    monkeypatch.undo()
    index.add([])
    assert index.verify().healthy, "the next write clears them away"


def test_a_program_that_searches_and_ends_at_once_ends_well(tmp_path, start_program) -> None:
    """Threads that end in a C++ library while the interpreter goes away would abort it."""
    program = """
index = HybridIndex.open(sys.argv[1], read_only=True)
print(len(index.search("edital", 1).hits))
"""
    with HybridIndex.create(tmp_path / "i") as index:
        index.add([IndexDocument("a", {"text": "edital"})])
    programs = [start_program(program, tmp_path / "i") for _ in range(2)]
    for each in programs:
        out, err = each.communicate(timeout=120)
        assert (each.returncode, out, err) == (0, "1\n", "")
