"""`HybridIndex`: one write path, and documents that come back as they were given."""

from __future__ import annotations

import datetime as dt
import json
import math

import numpy as np
import pytest

import limiar
from limiar import AddReport, HybridIndex, IndexDocument
from limiar.errors import (
    ConfigurationError,
    EncoderError,
    InputError,
    InputTypeError,
    StoreError,
    StoreWriteError,
)
from limiar.testing import WordsEncoder

pytest.importorskip("tantivy")
pytest.importorskip("chromadb")

ARMS = ("bm25", "dense")


def documents(numbers, text="pregão eletrônico número"):
    return [IndexDocument(f"d{n}", {"text": f"{text} {n}"}, {"n": n}) for n in numbers]


def found(index, query, k=10, **options):
    return [hit.document.id for hit in index.search(query, k, **options).hits]


def found_by(index, arm, query, k=10, **options):
    """By one arm alone."""
    return found(index, query, k, weights={name: float(name == arm) for name in ARMS}, **options)


def assert_holds(index, ids):
    """The documents and both arms hold exactly these."""
    health = index.verify()
    assert health.healthy, str(health)
    assert sorted(index.ids()) == sorted(ids)
    assert len(index) == len(ids)


@pytest.fixture(scope="module")
def shared_index(tmp_path_factory):
    """For calls that leave it as it is."""
    with HybridIndex.create(tmp_path_factory.mktemp("index"), encoder=WordsEncoder()) as index:
        index.add(documents(range(30)))
        yield index


# One write path


def test_both_arms_find_what_was_added(index) -> None:
    assert index.add(documents(range(20))) == AddReport(added=20, embedded=20)
    for arm in ARMS:
        assert found_by(index, arm, "número 7")[0] == "d7"
    hit = index.search("pregão número 7", 3).hits[0]
    assert hit.document.text == "pregão eletrônico número 7"
    assert hit.document.metadata == {"n": 7}
    assert set(hit.fused.arms) == {"bm25", "dense"}
    assert (hit.fused.id, hit.fused.arms["bm25"].rank, hit.fused.arms["dense"].rank) == ("d7", 1, 1)
    assert hit.fused.arms["dense"].score == pytest.approx(
        float(WordsEncoder().embed_query("pregão número 7") @ WordsEncoder().embed_query(hit.document.text)), abs=1e-5
    )
    assert_holds(index, [f"d{n}" for n in range(20)])


def test_the_same_id_replaces_in_both_arms(index) -> None:
    index.add(documents(range(5)))
    report = index.add([IndexDocument("d3", {"text": "concessão de rodovia"}), *documents([5])])
    assert report == AddReport(added=1, replaced=1, embedded=2)
    for arm in ARMS:
        assert found_by(index, arm, "concessão de rodovia", 1) == ["d3"]
    assert found_by(index, "bm25", "número 3") != ["d3"]
    assert "d3" not in found_by(index, "dense", "pregão eletrônico número 3", 5)
    assert_holds(index, [f"d{n}" for n in range(6)])


def test_deleted_from_both_arms(index) -> None:
    index.add(documents(range(10)))
    assert index.delete(["d1", "nowhere", "d2", "d1"]) == 2
    for arm in ARMS:
        assert set(found_by(index, arm, "pregão", 100)) == {f"d{n}" for n in (0, *range(3, 10))}
    assert "d1" not in index
    assert index.delete(["d1"]) == 0
    assert index.delete([]) == 0
    assert_holds(index, [f"d{n}" for n in (0, *range(3, 10))])


def test_deleted_and_added_again(index, encoder) -> None:
    index.add(documents(range(3)))
    index.delete(index.ids())
    assert (len(index), found(index, "pregão")) == (0, [])
    assert index.add(documents(range(3))) == AddReport(added=3, embedded=3)
    assert_holds(index, ["d0", "d1", "d2"])


def test_two_documents_with_one_id_in_a_call(index, encoder) -> None:
    first, last = IndexDocument("x", {"text": "minuta do edital"}), IndexDocument("x", {"text": "edital publicado"})
    assert index.add([first, *documents(range(3)), last]) == AddReport(added=4, repeated=1, embedded=4)
    assert index.get(["x"])[0].text == "edital publicado"
    assert "minuta do edital" not in encoder.embedded
    assert found_by(index, "bm25", "minuta") == []
    assert_holds(index, ["x", "d0", "d1", "d2"])


def test_two_documents_with_one_id_in_two_batches_of_a_call(index, monkeypatch) -> None:
    monkeypatch.setattr("limiar.retrieval.index_writer.BATCH", 2)
    report = index.add([*documents(range(3)), *documents([0], "outro texto")])
    assert report == AddReport(added=3, replaced=1, embedded=4)
    assert index.get(["d0"])[0].text == "outro texto 0"
    assert_holds(index, ["d0", "d1", "d2"])


def test_nothing_to_add(index) -> None:
    told = []
    assert index.add([], progress=lambda *at: told.append(at)) == AddReport()
    assert told == [(0, 0)]
    assert (len(index), index.ids(), found(index, "edital")) == (0, [], [])
    assert index.verify().healthy
    assert index.repair().healthy


def test_reopened(index, encoder) -> None:
    index.add(documents(range(10)))
    folder = index.folder
    index.close()
    with HybridIndex.open(folder, encoder=encoder) as again:
        assert again.ids() == [f"d{n}" for n in range(10)]
        for arm in ARMS:
            assert found_by(again, arm, "número 7", 1) == ["d7"]
        assert again.add(documents(range(11))) == AddReport(added=1, unchanged=10, embedded=1)
        assert_holds(again, [f"d{n}" for n in range(11)])


def test_the_encoder_of_the_package(tmp_path) -> None:
    texts = {
        "rain": "Chuvas fortes alagaram a rodovia e a ponte foi interditada.",
        "bid": "A administração pode contratar diretamente, sem concorrência, em caso de emergência.",
        "pay": "O vencimento dos servidores será reajustado em janeiro.",
    }
    with HybridIndex.create(tmp_path / "index") as index:
        index.add(IndexDocument(name, {"text": text}) for name, text in texts.items())
        assert found_by(index, "dense", "dispensa de licitação", 1) == ["bid"]
        assert index.stats().encoder == limiar.BundledEncoder().model_id
    with HybridIndex.open(tmp_path / "index") as index:
        assert found(index, "aumento do salário dos funcionários públicos", 1) == ["pay"]


def test_stats_and_looks(index, encoder) -> None:
    index.add(documents(range(3)))
    stats = index.stats()
    assert (stats.documents, stats.fields, stats.language, stats.encoder) == (3, {"text": 1.0}, "pt", "limiar/words")
    assert (stats.views, stats.place) == ({"bm25": ("text",), "dense": ("text",)}, "folder")
    assert stats.size_bytes > 10_000
    assert index.arms == ARMS
    assert not index.read_only
    assert "limiar/words" in repr(index)
    assert "d1" in index
    assert "d9" not in index
    assert 3 not in index
    assert [it.id for it in index.get(["d2", "none", "d0"])] == ["d2", "d0"]


def test_the_manifest(tmp_path, encoder) -> None:
    fields = {"title": 2.0, "text": 1.0}
    with HybridIndex.create(tmp_path, fields=fields, views=("text", "keywords"), encoder=encoder):
        pass
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    collections = manifest.pop("collections")
    assert manifest == {
        "format": "limiar-hybrid",
        "version": 1,
        "fields": fields,
        "language": "pt",
        "encoder": "limiar/words",
        "chroma": "folder",
        "views": {"bm25": ["text", "keywords"], "dense": ["text", "keywords"]},
        "text_weight": 1,
    }
    assert list(collections) == ["text", "keywords"]


# What is embedded


def test_a_text_that_is_there_is_not_embedded_again(index, encoder) -> None:
    index.add(documents(range(5)))
    assert index.add(documents(range(5))) == AddReport(unchanged=5)
    again = [IndexDocument(f"copy {n}", it.fields) for n, it in enumerate(documents(range(5)))]
    assert index.add(again) == AddReport(added=5)
    assert len(encoder.embedded) == 5
    assert_holds(index, [*(f"d{n}" for n in range(5)), *(f"copy {n}" for n in range(5))])


def test_equal_texts_in_a_batch_are_embedded_once(index, encoder) -> None:
    report = index.add(IndexDocument(f"d{n}", {"text": f"texto {n % 3}"}) for n in range(30))
    assert report == AddReport(added=30, embedded=3)
    assert sorted(encoder.embedded) == ["texto 0", "texto 1", "texto 2"]
    assert_holds(index, [f"d{n}" for n in range(30)])


def test_new_metadata_do_not_embed(index, encoder) -> None:
    index.add(documents(range(5)))
    changed = [IndexDocument(it.id, it.fields, {"n": -1}) for it in documents(range(5))]
    assert index.add(changed) == AddReport(replaced=5)
    assert len(encoder.embedded) == 5
    for arm in ARMS:
        assert len(found_by(index, arm, "pregão", filter={"n": -1})) == 5
        assert found_by(index, arm, "pregão", filter={"n": {"$gte": 0}}) == []


def test_vectors_of_a_text_that_one_of_two_documents_keeps(index, encoder) -> None:
    index.add([IndexDocument("a", {"text": "igual"}), IndexDocument("b", {"text": "igual"})])
    index.delete(["a"])
    index.add([IndexDocument("c", {"text": "igual"})])
    assert encoder.embedded == ["igual"]
    index.delete(["b", "c"])
    index.add([IndexDocument("d", {"text": "igual"})])
    assert encoder.embedded == ["igual", "igual"], "nobody had the text any more"


def test_vectors_made_for_a_write_that_failed_are_kept(index, encoder) -> None:
    def first_good_then_bad():
        yield from documents(range(500))
        yield from documents(range(500, 600))
        yield "no document"

    with pytest.raises(InputTypeError, match="document 600 is str"):
        index.add(first_good_then_bad())
    assert len(index) == 500, "the batch before is there"
    assert_holds(index, [f"d{n}" for n in range(500)])
    assert index.add(documents(range(600))) == AddReport(added=100, unchanged=500, embedded=100)
    assert len(encoder.embedded) == 600


def test_all_fields_have_one_vector(tmp_path, encoder) -> None:
    with HybridIndex.create(tmp_path / "i", fields={"title": 3.0, "text": 1.0}, encoder=encoder) as index:
        index.add([IndexDocument("1", {"text": "corpo", "title": "título"}), IndexDocument("2", {"text": "só corpo"})])
        assert encoder.embedded == ["título\ncorpo", "só corpo"]
        assert found(index, "título", 1) == ["1"]
        assert index.get(["1"])[0].fields == {"text": "corpo", "title": "título"}
        assert index.search("corpo", field_weights={"text": 0.0}, weights={"dense": 0.0}).hits == []


def test_what_is_no_vector_for_each_text(index, encoder) -> None:
    index.add(documents([9]))
    for bad in (
        lambda texts: np.zeros((len(texts), 63), np.float32),
        lambda texts: np.zeros((len(texts) - 1, 64), np.float32),
        lambda texts: np.full((len(texts), 64), math.nan, np.float32),
        lambda texts: [[1.0], [1.0, 2.0], *texts],
        lambda texts: None,
    ):
        encoder.embed_documents = bad
        with pytest.raises(EncoderError, match="encoder 'limiar/words'"):
            index.add(documents(range(3)))
    del encoder.embed_documents
    assert_holds(index, ["d9"])
    index.add(documents(range(3)))
    assert_holds(index, ["d9", "d0", "d1", "d2"])


def test_an_encoder_that_fails(index, encoder) -> None:
    encoder.error = RuntimeError("secret text")
    with pytest.raises(EncoderError, match=r"'limiar/words' failed \(RuntimeError\)") as caught:
        index.add(documents(range(3)))
    assert "secret" not in str(caught.value)
    encoder.error = None
    assert_holds(index, [])


# Progress


@pytest.mark.parametrize(("count", "length"), [(0, True), (1, True), (1234, True), (1234, False), (500, False)])
def test_progress_is_monotone_and_ends_at_the_total(index, count, length) -> None:
    told = []
    given = documents(range(count))
    index.add(given if length else iter(given), progress=lambda done, total: told.append((done, total, len(index))))
    done = [at[0] for at in told]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, count)
    assert {at[1] for at in told} == {count if length else None}
    assert all(there >= at // 500 * 500 for at, _, there in told), "a batch that is done is on disk"
    if count > 1000:
        assert len(set(done)) > 4


def test_progress_that_fails_stops_the_write(index) -> None:
    def progress(done, total):
        if done >= 500:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        index.add(documents(range(700)), progress=progress)
    assert_holds(index, [f"d{n}" for n in range(500)])


# What comes back

NOON = dt.datetime(2024, 2, 29, 12, 30, 15, 123456)  # noqa: DTZ001  # without a zone, too
ZONED = dt.datetime(2024, 2, 29, 12, tzinfo=dt.timezone(dt.timedelta(hours=-3)))


def test_metadata_are_kept(index) -> None:
    given = {
        "none": None,
        "true": True,
        "int": 1,
        "float": 1.0,
        "huge": 2**63 - 1,
        "tiny": 5e-324,
        "text": "Acórdão\n\0😀 \ud800",
        "list": [1, "dois", None, 3.5, False],
        "empty": [],
        "nested": {"a": {"b": [1, {"c": None}], "": 10**30}, "date": dt.date(2020, 1, 2)},
        "date": dt.date(1988, 10, 5),
        "datetime": NOON,
        "zoned": ZONED,
        "dates": [dt.date(2020, 1, 1), NOON],
        "$limiar.date": "not one of ours",
        "ours": {"$limiar.date": "2020-01-01"},
        "twice": {"$limiar.$limiar.datetime": {"$limiar.datetime": 3}},
        "": "empty key",
    }
    index.add([IndexDocument("1", {"text": "x"}, given)])
    kept = index.get(["1"])[0].metadata
    assert kept == given
    assert list(kept) == list(given)
    assert {key: type(value) for key, value in kept.items()} == {key: type(value) for key, value in given.items()}
    assert kept["zoned"].utcoffset() == dt.timedelta(hours=-3)
    assert index.search("x").hits[0].document.metadata == given
    assert index.add([IndexDocument("1", {"text": "x"}, given)]).unchanged == 1


def test_tuples_sets_and_foreign_numbers(index) -> None:
    given = {"tuple": (1, 2), "nested": {"t": (1, (2,))}, "set": {3}, "frozen": frozenset(["a"]), "np": np.int64(7)}
    index.add([IndexDocument("1", {"text": "x"}, {**given, "np32": np.float32(0.1)})])
    assert index.get(["1"])[0].metadata == {
        "tuple": [1, 2],
        "nested": {"t": [1, [2]]},
        "set": [3],
        "frozen": ["a"],
        "np": 7,
        "np32": float(np.float32(0.1)),
    }
    assert found(index, "x", filter={"np": {"$gte": 7}, "tuple": 2}) == ["1"]


def deep(levels):
    value = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a": b"bytes"}, "metadata 'a' of document 3 is bytes"),
        ({"a": object()}, "metadata 'a' of document 3 is object"),
        ({"a": [[1]]}, "metadata 'a' of document 3 is list"),
        ({"a": math.nan}, "expected a finite number"),
        ({"a": 2**64}, "an integer of at most 64 bits"),
        ({3: "a"}, "a metadata key of document 3 is int"),
        ({"nested": {"a": b"bytes"}}, r"metadata of document 3 cannot be kept \(a value is bytes\)"),
        ({"nested": {3: "a"}}, r"metadata of document 3 cannot be kept \(a key is int\)"),
        ({"nested": {"a": dt.time(3)}}, r"metadata of document 3 cannot be kept \(a value is time\)"),
        ({"nested": {"a": math.inf}}, "metadata of document 3 cannot be kept: a number is not finite"),
        ({"nested": deep(100_000)}, "metadata of document 3 cannot be kept: .* nest too deeply"),
        ("text", "the metadata of document 3 is str"),
    ],
)
def test_metadata_that_cannot_be_kept(shared_index, metadata, message) -> None:
    with pytest.raises(InputError, match=message):
        shared_index.add([*documents(range(100, 103)), IndexDocument("bad", {"text": "x"}, metadata)])
    assert_holds(shared_index, [f"d{n}" for n in range(30)])


ODD_TEXTS = {
    "lone": "a\ud800b",
    "pair": "two lone surrogates \ud83d\ude00, one after the other",
    "nul": "a\0b",
    "emoji": "😀 👩‍👩‍👧‍👦 é e\u0301 ﬁ \u202e",
    "lines": "\r\n\t linhas \u2028 \v\f \x1f\x7f\ufeff",
    "blank": " \n ",
    "empty": "",
    "stop words": "de a o que e do da em um",
    "signs": "§ — … ?!",
    "quotes": "\"'`;--\\ {$limiar.date}",
    "long": "Edital de concorrência nº 1/2024. " * 90_000,
    "one word": "x" * 1_000_000,
}


def test_texts_come_back_to_the_character(index, encoder) -> None:
    index.add(IndexDocument(name, {"text": text}, {"is": name}) for name, text in ODD_TEXTS.items())
    assert {it.id: it.text for it in index.get(ODD_TEXTS)} == ODD_TEXTS
    blank = {"blank", "empty"}
    for arm in ARMS:
        for query in ("concorrência", "que é isto", "a\ud800b"):
            for hit in index.search(query, 50, weights={name: float(name == arm) for name in ARMS}).hits:
                assert hit.document.text == ODD_TEXTS[hit.document.id]
    assert set(found_by(index, "dense", "concorrência", 50)) == ODD_TEXTS.keys() - blank, "blank texts have no vector"
    assert found_by(index, "bm25", "concorrência") == ["long"]
    assert_holds(index, list(ODD_TEXTS))
    folder = index.folder
    index.close()
    with HybridIndex.open(folder, encoder=encoder) as again:
        assert {it.id: it.text for it in again.get(ODD_TEXTS)} == ODD_TEXTS
        assert again.add(IndexDocument(name, {"text": text}, {"is": name}) for name, text in ODD_TEXTS.items()) == (
            AddReport(unchanged=len(ODD_TEXTS))
        )
        assert again.delete(ODD_TEXTS) == len(ODD_TEXTS)
        assert_holds(again, [])


def test_ids_of_any_kind(index) -> None:
    ids = ["a\nb", "a\0b", "a\0c", "😀", "é" * 5_000, " ", "1", "01", "';--", "../x"]
    index.add(IndexDocument(identity, {"text": f"número {n}"}) for n, identity in enumerate(ids))
    assert index.ids() == ids
    assert [it.id for it in index.get(ids)] == ids
    assert set(found(index, "número", 100)) == set(ids)
    assert index.delete(["a\0b", "é" * 5_000]) == 2
    assert_holds(index, [identity for identity in ids if identity not in ("a\0b", "é" * 5_000)])


@pytest.mark.parametrize("texts", [["", " "], ["de a o", "que e"]])
def test_a_corpus_of_nothing_to_find(index, texts) -> None:
    report = index.add(IndexDocument(str(n), {"text": text}) for n, text in enumerate(texts))
    assert report == AddReport(added=2, embedded=2 if texts[0] else 0)
    assert found_by(index, "bm25", "edital") == []
    assert found(index, "de") == found_by(index, "dense", "de")
    assert_holds(index, ["0", "1"])


# Generated texts

KEYWORDS = {"keywords": "compra direta emergencial"}


@pytest.fixture
def expanding(tmp_path, encoder):
    """An index with every view."""
    with HybridIndex.create(tmp_path / "expanding", views=("text", "keywords", "both"), encoder=encoder) as made:
        yield made


def test_generated_texts_are_searched_and_never_returned(expanding) -> None:
    expanding.add(documents(range(3)))
    assert expanding.set_generated({"d1": {**KEYWORDS, "statement": " "}}) == AddReport(replaced=1, embedded=2)
    assert found_by(expanding, "bm25", "emergencial") == ["d1"]
    assert found_by(expanding, "bm25", "emergencial", index_on="text") == []
    document = expanding.search("emergencial").hits[0].document
    assert (document.id, document.text, document.generated) == ("d1", "pregão eletrônico número 1", KEYWORDS)
    assert document.fields == {"text": "pregão eletrônico número 1"}
    assert expanding.set_generated({"d1": KEYWORDS}) == AddReport(unchanged=1)
    assert_holds(expanding, ["d0", "d1", "d2"])


def test_generated_texts_are_kept_as_long_as_the_text_is(expanding) -> None:
    expanding.add(documents(range(3)))
    expanding.set_generated({"d1": KEYWORDS, "d2": KEYWORDS})
    expanding.add([IndexDocument("d1", {"text": "pregão eletrônico número 1"}, {"new": True})])
    expanding.add([IndexDocument("d2", {"text": "pregão presencial"}, {"n": 2})])
    assert found_by(expanding, "bm25", "emergencial") == ["d1"]
    one, two = expanding.get(["d1", "d2"])
    assert (one.generated, one.metadata, two.generated) == (KEYWORDS, {"new": True}, {})
    expanding.set_generated({"d1": {}})
    assert found_by(expanding, "bm25", "emergencial") == []
    assert_holds(expanding, ["d0", "d1", "d2"])


def test_generated_texts_are_kept_when_one_call_repeats_the_document(expanding) -> None:
    """As they are when it is repeated in the next call."""
    text = {"text": "pregão eletrônico"}
    twice = [IndexDocument("d1", text, {}, KEYWORDS), IndexDocument("d1", text, {"new": True})]
    changed = [IndexDocument("d2", text, {}, KEYWORDS), IndexDocument("d2", {"text": "pregão presencial"})]
    assert expanding.add([*twice, *changed]) == AddReport(added=2, repeated=2, embedded=4)
    one, two = expanding.get(["d1", "d2"])
    assert (one.generated, one.metadata, two.generated) == (KEYWORDS, {"new": True}, {})
    assert found_by(expanding, "bm25", "emergencial") == ["d1"]
    assert_holds(expanding, ["d1", "d2"])


def test_vectors_of_generated_texts_are_stored(tmp_path, encoder) -> None:
    with HybridIndex.create(tmp_path / "i", views=("text", "keywords"), encoder=encoder) as index:
        index.add(documents(range(3)))
        told = []
        given = {"d1": KEYWORDS, "d2": {"questions": "Quem pode comprar?"}}
        assert index.set_generated(given, progress=lambda *at: told.append(at)) == AddReport(replaced=2, embedded=2)
        assert (told[0], told[-1]) == ((0, 2), (2, 2))
        assert encoder.embedded[3:] == [KEYWORDS["keywords"], "Quem pode comprar?"]
        assert len(index._dense._chroma.get().keys("keywords")) == 2
        assert_holds(index, ["d0", "d1", "d2"])
        index.add([IndexDocument("d1", {"text": "pregão presencial"})])
        assert len(index._dense._chroma.get().keys("keywords")) == 1
        assert_holds(index, ["d0", "d1", "d2"])
    with HybridIndex.open(tmp_path / "i", encoder=encoder) as index:
        assert index.stats().views == {"bm25": ("text", "keywords"), "dense": ("text", "keywords")}
        assert index.schema.text_weight == 1


def test_each_arm_looks_into_the_view_it_is_told(expanding) -> None:
    expanding.add(documents(range(3)))
    expanding.set_generated({"d1": {"keywords": "contratação direta", "questions": "Quem pode comprar?"}})
    for view, by_text, by_keyword in [("text", "d1", ""), ("keywords", "", "d1"), ("both", "d1", "d1")]:
        for where in (view, {"bm25": view}):
            options = {"index_on": where, "weights": {"dense": 0}}
            assert found(expanding, "número 1", 1, **options)[:1] == ([by_text] if by_text else [])
            assert found(expanding, "comprar", 1, **options) == ([by_keyword] if by_keyword else [])
    assert found(expanding, "contratação direta", 1, weights={"bm25": 0}, index_on="keywords") == ["d1"]
    assert len(found(expanding, "contratação", 9, weights={"bm25": 0}, index_on={"dense": "keywords"})) == 1
    assert found(expanding, "comprar", 1, weights={"dense": 0}) == ["d1"], "the richest view is searched"
    weighted = {"index_on": "text", "field_weights": {"questions": 0.3}, "weights": {"dense": 0}}
    assert found(expanding, "comprar", 1, **weighted) == ["d1"]


def test_views_of_each_arm(tmp_path, encoder) -> None:
    views = {"bm25": ["both"], "dense": ["text"]}
    with HybridIndex.create(tmp_path / "i", views=views, text_weight=2, encoder=encoder) as index:
        index.add(documents(range(2)))
        index.set_generated({"d1": KEYWORDS})
        assert found_by(index, "bm25", "emergencial") == ["d1"]
        assert encoder.embedded == ["pregão eletrônico número 0", "pregão eletrônico número 1"]
        with pytest.raises(ConfigurationError, match="the dense arm of this index has text"):
            index.search("x", index_on="both")
        twice = index.schema.bm25_document(1, index.get(["d1"])[0]).fields["both"]
        assert twice == "pregão eletrônico número 1\npregão eletrônico número 1\n" + KEYWORDS["keywords"]
    with HybridIndex.open(tmp_path / "i", encoder=encoder) as index:
        assert index.stats().views == {"bm25": ("both",), "dense": ("text",)}
        assert index.schema.text_weight == 2


def test_an_index_without_such_a_view_takes_no_generated_texts(index) -> None:
    index.add(documents(range(1)))
    with pytest.raises(ConfigurationError, match="no view of generated texts"):
        index.set_generated({"d0": KEYWORDS})


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        ({"nowhere": KEYWORDS}, InputError, "1 of the ids are of no document in the index, the first: 'nowhere'"),
        ({"d1": {"text": "x"}}, InputError, "unknown generated field 'text'"),
        ({"d1": {"keywords": 3}}, InputTypeError, "a generated text in 'keywords' is int"),
        ({"d1": "text"}, InputTypeError, "expected as a mapping of ids"),
        (["d1"], InputTypeError, "expected as a mapping of ids"),
        ({1: KEYWORDS}, InputTypeError, "the id of entry 0 is int"),
    ],
)
def test_generated_texts_that_are_none(expanding, texts, error, message) -> None:
    expanding.add(documents(range(3)))
    with pytest.raises(error, match=message):
        expanding.set_generated(texts)
    assert all(not it.generated for it in expanding.get(expanding.ids()))


# What cannot be used


def test_documents_that_are_none(index) -> None:
    for bad, message in [
        ("text", "documents is str; expected an iterable of IndexDocument"),
        (IndexDocument("1", {"text": "x"}), "documents is IndexDocument"),
        (None, "documents is NoneType"),
        ([{"id": "1"}], "document 0 is dict; expected an IndexDocument"),
        ([IndexDocument(1, {"text": "x"})], "the id of document 0 is int"),
        ([IndexDocument("1", {"text": 3})], "field 'text' of document 0 is int"),
        ([IndexDocument("1", "x")], "the fields of document 0 are str"),
    ]:
        with pytest.raises(InputTypeError, match=message):
            index.add(bad)
    for bad, message in [
        (IndexDocument("", {"text": "x"}), "the id of document 1 has 0 bytes"),
        (IndexDocument("x" * 32_769, {"text": "x"}), "has 32769 bytes"),
        (IndexDocument("\ud800", {"text": "x"}), "holds a lone surrogate"),
        (IndexDocument("1", {"keywords": "x"}), "unknown field 'keywords'"),
    ]:
        with pytest.raises(InputError, match=message):
            index.add([IndexDocument("good", {"text": "x"}), bad])
    for call in (index.delete, index.get):
        with pytest.raises(InputTypeError, match="ids is str"):
            call("d1")
        with pytest.raises(InputTypeError, match="the id of entry 0 is int"):
            call([1])
    assert_holds(index, [])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"query": " "}, InputError, "expected text to look for"),
        ({"query": 3}, InputTypeError, "the query is int"),
        ({"k": 0}, ConfigurationError, "k=0; expected a whole number"),
        ({"k": 2.0}, ConfigurationError, "k=2.0"),
        ({"k": True}, ConfigurationError, "k=True"),
        ({"candidates": 0}, ConfigurationError, "candidates=0"),
        ({"candidates": "9"}, ConfigurationError, "candidates='9'"),
        ({"weights": {"sparse": 1.0}}, ConfigurationError, "unknown arm in the weights: sparse"),
        ({"weights": {"bm25": 0, "dense": 0}}, ConfigurationError, "every arm weight is 0"),
        ({"weights": {"bm25": -1}}, ConfigurationError, "the weight of arm 'bm25' is -1"),
        ({"field_weights": {"title": 1.0}}, ConfigurationError, "unknown field in the weights: title"),
        ({"fusion": "sum"}, ConfigurationError, "fusion='sum'"),
        ({"rrf_k": 0}, ConfigurationError, "rrf_k=0"),
        ({"timeout": 0}, ConfigurationError, "timeout=0"),
        ({"on_error": "ignore"}, ConfigurationError, "on_error='ignore'"),
        ({"filter": [1]}, InputTypeError, "the filter is list"),
        ({"filter": {"n": {"$near": 3}}}, InputError, r"unknown operator '\$near'"),
        ({"filter": {"n": object()}}, InputTypeError, "metadata 'n' of the filter is object"),
    ],
)
async def test_searches_that_cannot_be_asked(shared_index, options, error, message) -> None:
    with pytest.raises(error, match=message):
        shared_index.search(**{"query": "edital", **options})
    with pytest.raises(error, match=message):
        await shared_index.asearch(**{"query": "edital", **options})


def test_k_and_candidates_beyond_the_documents(shared_index) -> None:
    assert len(found(shared_index, "pregão", 10**6)) == 30
    assert len(found(shared_index, "pregão", 3, candidates=10**6)) == 3
    assert len(found(shared_index, "pregão", 20, candidates=1)) == 20, "at least k"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": ["title"]}, "expected one named 'text'"),
        ({"fields": ["text", "keywords"]}, "'keywords' is kept for generated texts"),
        ({"fields": "text"}, "fields is str"),
        ({"fields": {"text": -1.0}}, "the weight of field 'text' is -1.0"),
        ({"fields": ["text", "both"]}, "'both' is kept for generated texts"),
        ({"views": []}, "expected at least one of"),
        ({"views": "text"}, "expected at least one of"),
        ({"views": ["text", "title"]}, "expected at least one of"),
        ({"views": [["text"]]}, "expected at least one of"),
        ({"views": {"bm25": ["text"]}}, "expected views for each of the arms"),
        ({"text_weight": 0}, "text_weight=0"),
        ({"text_weight": 11}, "expected at most 10"),
        ({"chroma": "localhost:8000"}, "is no address of a server"),
        ({"chroma": "http://user:secret@localhost:8000"}, "holds credentials"),
        ({"chroma": 3}, "chroma is int"),
        ({"encoder": "model"}, "encoder is str"),
    ],
)
def test_an_index_that_cannot_be_made(tmp_path, options, message) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        HybridIndex.create(tmp_path / "i", **options)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "i").exists()


async def test_a_closed_index_says_so(index) -> None:
    index.close()
    index.close()
    calls = [lambda: index.search("x"), lambda: index.add(documents([1])), lambda: index.delete(["x"]),
             lambda: index.set_generated({}), lambda: index.get(["x"]), index.ids, lambda: len(index),
             lambda: "x" in index, index.verify, index.repair, index.stats]  # fmt: skip
    for call in calls:
        with pytest.raises(StoreError, match="is closed; open it again"):
            call()
    with pytest.raises(StoreError, match="is closed"):
        await index.asearch("x")


def test_a_read_only_index_does_not_write(index, encoder) -> None:
    index.add(documents(range(3)))
    with HybridIndex.open(index.folder, read_only=True, encoder=encoder) as reader:
        assert reader.read_only
        for call in (
            lambda: reader.add(documents([1])),
            lambda: reader.delete(["d1"]),
            lambda: reader.set_generated({}),
            reader.repair,
        ):
            with pytest.raises(StoreWriteError, match="open read-only; open it with read_only=False"):
                call()
        assert_holds(reader, ["d0", "d1", "d2"])
