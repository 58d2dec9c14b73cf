"""One contract, held by the index on disk and by the reference in memory."""

from __future__ import annotations

import random
import threading

import pytest

from limiar import Analyzer, BM25Index, Hit, IndexDocument, OkapiBM25
from limiar.errors import ConfigurationError, InputError, InputTypeError

pytest.importorskip("tantivy")
pytest.importorskip("rank_bm25")

FIELDS = {"title": 2.0, "text": 1.0}
DOCUMENTS = [
    IndexDocument("1", {"title": "Licitação dispensada", "text": "Lei nº 8.666/93, art. 24"}, {"year": 2019, "t": "a"}),
    IndexDocument(
        "2", {"title": "Pregão", "text": "licitações por pregão eletrônico"}, {"year": 2020, "t": ["a", "b"]}
    ),
    IndexDocument("3", {"text": "Aposentadoria de servidor público"}, {"year": 2021, "t": None}),
    IndexDocument("4", {"text": "Acórdão 1234/2020 sobre licitação"}, {"year": 2022}),
    IndexDocument("5", {"text": "Pensão civil e militar"}),
]


@pytest.fixture(params=["disk", "memory"])
def make(request, tmp_path):
    opened = []

    def make_one(**options):
        if request.param == "memory":
            return OkapiBM25(**options)
        opened.append(BM25Index.create(tmp_path / str(len(opened)), **options))
        return opened[-1]

    yield make_one
    for index in opened:
        index.close()


@pytest.fixture
def index(make):
    index = make(fields=FIELDS)
    index.add(DOCUMENTS)
    return index


def found(hits) -> list[str]:
    return [hit.id for hit in hits]


def test_only_matching_documents_with_scores_best_first(index) -> None:
    hits = index.search("licitação pregão")
    assert set(found(hits)) == {"1", "2", "4"}
    assert hits[0].id == "2"
    assert all(type(hit.score) is float and isinstance(hit, Hit) for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert index.search("zebra") == []


def test_k(index) -> None:
    assert found(index.search("licitação pregão", 1)) == ["2"]
    assert len(index.search("licitação", 10**12)) == 3


@pytest.mark.parametrize("variant", ["lei 8666", "LEI N. 8.666/1993", "artigo 24", "licitacao dispensada"])
def test_variants_find_the_same_document(index, variant) -> None:
    assert found(index.search(variant))[0] == "1"


def test_weights_per_call(index) -> None:
    assert found(index.search("pregão", weights={"title": 0.0, "text": 5.0})) == ["2"]
    assert index.search("dispensada", weights={"title": 0.0}) == []
    strong, weak = (index.search("dispensada", weights={"title": weight})[0].score for weight in (4.0, 1.0))
    assert strong == pytest.approx(4.0 * weak)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"year": 2019}, {"1"}), ({"year": {"$gte": 2020}}, {"2", "4"}), ({"year": {"$gt": 2019, "$lt": 2022}}, {"2"}),
        ({"year": {"$in": [2019, 2022]}}, {"1", "4"}), ({"t": "a"}, {"1", "2"}), ({"t": {"$ne": "a"}}, {"4"}),
        ({"$or": [{"year": 2019}, {"t": "b"}]}, {"1", "2"}), ({"$not": {"year": {"$lte": 2020}}}, {"4"}),
        ({"$and": [{"t": "a"}, {"$not": {"t": "b"}}]}, {"1"}), ({"year": {"$in": []}}, set()), ({}, {"1", "2", "4"}),
        ({"year": {"$lte": 2022}, "t": "a"}, {"1", "2"}), ({"t": {"$gte": "a", "$lte": "b"}}, {"1", "2"}),
    ],
)  # fmt: skip
def test_filters(index, condition, expected) -> None:
    unfiltered = {hit.id: hit.score for hit in index.search("licitação")}
    hits = {hit.id: hit.score for hit in index.search("licitação", filter=condition)}
    assert hits == {identity: unfiltered[identity] for identity in expected}


def test_a_filtered_search_still_fills_k(make) -> None:
    index = make()
    index.add(IndexDocument(str(n), {"text": "lei " + "geral " * (n % 7)}, {"n": n}) for n in range(500))
    assert len(index.search("lei", 10, filter={"n": {"$gte": 480}})) == 10
    assert len(index.search("lei", 10, filter={"n": {"$gte": 497}})) == 3


def test_random_filters_mean_the_same_on_disk_and_in_memory(tmp_path) -> None:
    draw = random.Random(5)
    values = [*range(-3, 4), 0.5, -2.5, 2**60, 2**60 + 1, "", "a", "ab", "é", "🦜", None, True, False, ["a", 1, 2.5]]
    documents = [
        IndexDocument(str(n), {"text": "lei"}, {key: draw.choice(values) for key in "xy" if draw.random() < 0.8})
        for n in range(300)
    ]

    def condition(depth=0):
        kind = draw.choice(["value", "range", "in", "not", "and", "or"] if depth < 3 else ["value", "range", "in"])
        if kind == "not":
            return {"$not": condition(depth + 1)}
        if kind in ("and", "or"):
            return {f"${kind}": [condition(depth + 1) for _ in range(draw.randint(1, 3))]}
        key = draw.choice("xyz")
        if kind == "range":
            low, high = draw.choice([(-2, 2.5), ("a", "é"), (2**60, 2**60 + 1)])
            return {key: {draw.choice(["$gt", "$gte"]): low, draw.choice(["$lt", "$lte"]): high}}
        if kind == "in":
            return {key: {draw.choice(["$in", "$nin"]): draw.sample(values[:-1], 3)}}
        return {key: draw.choice(values[:-1])}

    memory = OkapiBM25()
    memory.add(documents)
    sizes = set()
    with BM25Index.create(tmp_path / "index") as disk:
        disk.add(documents)
        for _ in range(200):
            where = condition()
            expected = set(found(memory.search("lei", 300, filter=where)))
            assert set(found(disk.search("lei", 300, filter=where))) == expected, where
            sizes.add(len(expected))
    assert len(sizes) > 20


def test_equal_scores_come_in_the_order_of_adding(make) -> None:
    index = make()
    index.add(IndexDocument(identity, {"text": "pensão militar"}) for identity in "zyxab")
    assert found(index.search("pensão")) == list("zyxab")


def test_replace_and_delete(index) -> None:
    assert index.add([IndexDocument("1", {"text": "nada a ver"}, {"year": 1990})]) == 1
    assert set(found(index.search("licitação"))) == {"2", "4"}
    assert index.search("dispensada", filter={"year": 2019}) == []
    assert len(index) == 5
    assert index.delete(["2", "2", "missing"]) == 1
    assert found(index.search("licitação")) == ["4"]
    assert "2" not in index
    assert "4" in index
    assert index.ids() == ["3", "4", "5", "1"]
    assert index.delete([]) == 0


def test_of_two_with_one_id_the_last_wins(make) -> None:
    index = make()
    assert index.add([IndexDocument("a", {"text": "primeiro"}), IndexDocument("a", {"text": "segundo"})]) == 2
    assert len(index) == 1
    assert index.search("primeiro") == []
    assert found(index.search("segundo")) == ["a"]


def test_one_bad_document_and_nothing_is_added(index) -> None:
    with pytest.raises(InputTypeError, match="field 'text' of document 1 is int"):
        index.add([IndexDocument("9", {"text": "lei"}), IndexDocument("8", {"text": 7})])
    assert len(index) == 5
    assert "9" not in index
    assert index.add([IndexDocument("9", {"text": "zebra"})]) == 1
    assert found(index.search("zebra")) == ["9"]


def test_a_caller_s_iterator_that_fails_adds_nothing(index) -> None:
    def documents():
        yield IndexDocument("9", {"text": "lei"})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        index.add(documents())
    assert "9" not in index


@pytest.mark.parametrize("query", ["", "   ", "de a o que", "§", "!?", "\ud800"])
def test_a_query_without_terms_finds_nothing(index, query) -> None:
    assert index.search(query) == []


@pytest.mark.parametrize("texts", [[], [""], ["de a o", "", "que"]])
def test_a_corpus_without_terms(make, texts) -> None:
    index = make()
    index.add(IndexDocument(str(number), {"text": text}) for number, text in enumerate(texts))
    assert len(index) == len(texts)
    assert index.search("lei de licitações") == []
    index.add([IndexDocument("x", {"text": "lei"})])
    assert found(index.search("lei")) == ["x"]


@pytest.mark.parametrize("identity", ["a\nb\r\n\tc", "i" * 10_240, "🦜 é", '"] OR id:*', "\0", " "])
def test_odd_ids(index, identity) -> None:
    index.add([IndexDocument(identity, {"text": "zebra"})])
    index.add([IndexDocument(identity, {"text": "zebra zebra"})])
    assert found(index.search("zebra")) == [identity]
    assert index.delete([identity]) == 1
    assert index.search("zebra") == []


@pytest.mark.parametrize(
    "text", ["zebra 🦜👩‍👩‍👧", "zebra \ud83d", "\0zebra\0", "zebra\x85\u2028lei", "zebra " + "y" * 300_000]
)
def test_odd_texts(index, text) -> None:
    index.add([IndexDocument("odd", {"text": text}, {"note": text, text[:20].replace("\0", ""): 1})])
    assert found(index.search("zebra")) == ["odd"]
    assert found(index.search(text))[0] == "odd"
    assert found(index.search("zebra", filter={"note": text})) == ["odd"]


def test_a_text_of_5_mb(index) -> None:
    index.add([IndexDocument("big", {"text": "contrato administrativo sobre palavra " * 131_000 + "zebra"})])
    assert found(index.search("zebra")) == ["big"]


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ("text", "documents is str"),
        (7, "documents is int"),
        (IndexDocument("1", {}), "documents is IndexDocument"),
        ([("1", "text")], "document 0 is tuple; expected an IndexDocument"),
        ([IndexDocument(7, {})], "the id of document 0 is int"),
        ([IndexDocument("", {})], "the id of document 0 has 0 bytes"),
        ([IndexDocument("x" * 40_000, {})], "has 40000 bytes; expected 1 to 32768"),
        ([IndexDocument("\ud800", {})], "the id of document 0 holds a lone surrogate"),
        ([IndexDocument("1", "text")], "the fields of document 0 are str"),
        ([IndexDocument("1", {"body": "x"})], "unknown field 'body'; the fields of this index are: title, text"),
        ([IndexDocument("1", {}, {"x": object()})], "metadata 'x' of document 0 is object"),
    ],
)
def test_documents_that_are_refused(index, documents, message) -> None:
    with pytest.raises(InputError, match=message):
        index.add(documents)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, ConfigurationError, "k=0; expected a whole number of at least 1"),
        ({"weights": {"body": 1}}, ConfigurationError, "unknown field in the weights: body"),
        ({"weights": {"title": 0, "text": 0}}, ConfigurationError, "every field weight is 0"),
        ({"weights": {"title": float("nan")}}, ConfigurationError, "the weight of field 'title' is nan"),
        ({"filter": {"year": {"$like": 1}}}, InputError, "unknown operator"),
    ],
)
def test_searches_that_are_refused(index, options, error, message) -> None:
    with pytest.raises(error, match=message):
        index.search("lei", **options)
    with pytest.raises(InputTypeError, match="the query is NoneType"):
        index.search(None)


def test_ids_that_are_refused(index) -> None:
    with pytest.raises(InputTypeError, match="ids is str"):
        index.delete("1")
    with pytest.raises(InputTypeError, match="the id of entry 1 is int"):
        index.delete(["1", 2])
    assert len(index) == 5


@pytest.mark.parametrize("fields", ["text", [], [""], ["a", "a"], {"a": -1.0}, {"a": 0.0}, 3])
def test_fields_that_are_refused(make, fields) -> None:
    with pytest.raises(ConfigurationError):
        make(fields=fields)


def test_the_language_decides_the_terms(make) -> None:
    index = make(analyzer=Analyzer("en"))
    index.add([IndexDocument("1", {"text": "running services"})])
    assert found(index.search("run the service")) == ["1"]


def test_threads_share_an_index(index) -> None:
    expected, wrong = index.search("licitação"), []

    def search() -> None:
        wrong.extend(hits for hits in (index.search("licitação") for _ in range(50)) if hits != expected)

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
