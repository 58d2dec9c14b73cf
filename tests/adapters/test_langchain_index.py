"""`HybridRetriever` and `HybridDocumentIndex` over a `HybridIndex` in LangChain: calls, callbacks, `index()`."""

import subprocess
import sys
import uuid

import pytest
from index_corpus import DOCUMENTS, TEXTS, WordEncoder
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex
from langchain_core.indexing import index as index_documents
from langchain_core.runnables import RunnablePassthrough
from langchain_core.tools import create_retriever_tool
from pydantic import ValidationError

from langchain_limiar import HybridDocumentIndex, HybridRetriever, LimiarRerank, hybrid_rerank
from limiar import HybridIndex
from limiar.errors import ConfigurationError, InputError, InputTypeError, StoreWriteError
from limiar.testing import KeywordScorer


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    with HybridIndex.create(tmp_path_factory.mktemp("index") / "i", encoder=WordEncoder()) as index:
        index.add(DOCUMENTS)
        yield index


@pytest.fixture
def empty(tmp_path):
    with HybridIndex.create(tmp_path / "i", encoder=WordEncoder()) as index:
        yield index


async def both(retriever, query="licitação", **kwargs):
    sync, asynchronous = retriever.invoke(query, **kwargs), await retriever.ainvoke(query, **kwargs)
    assert sync == asynchronous
    return sync


# Searching


async def test_k_and_filter_of_a_call_replace_the_retrievers(filled):
    retriever = HybridRetriever(index=filled, filter={"year": 2024})
    assert {d.id for d in await both(retriever)} == {"quorum", "ceph"}
    assert len(await both(retriever, k=1)) == 1
    assert {d.id for d in await both(retriever, filter={"year": 2021})} == {"dispensa", "recurso"}
    assert len(await both(retriever, k=10, filter={})) == 6
    assert {d.id for d in await both(retriever)} == {"quorum", "ceph"}
    for unfit in (0, True, 2.0, "3"):
        with pytest.raises(ConfigurationError, match="k="):
            retriever.invoke("q", k=unfit)
    for unfit in ({"$what": 1}, {"year": {"$in": 2020}}):
        with pytest.raises(InputError):
            await retriever.ainvoke("q", filter=unfit)
    with pytest.raises(TypeError, match="candidate"):
        retriever.invoke("q", candidate=3)


async def test_a_filter_of_a_call_is_refused_over_retrievers(filled):
    retriever = HybridRetriever(retrievers=[HybridRetriever(index=filled)])
    with pytest.raises(ConfigurationError, match="filter is an option for an index, not for retrievers"):
        retriever.invoke("licitação", filter={"year": 2021})
    with pytest.raises(ConfigurationError, match="filter is an option for an index, not for retrievers"):
        await retriever.ainvoke("licitação", filter={"year": 2021})


async def test_fields_may_be_assigned_and_are_checked(filled):
    retriever = HybridRetriever(index=filled)
    retriever.filter, retriever.k = {"year": 2024}, 1
    assert {d.id for d in await both(retriever)} <= {"quorum", "ceph"}
    with pytest.raises(ValidationError):
        retriever.candidates = 0
    retriever.score_key = "score"
    with pytest.raises(ConfigurationError, match="score_key"):
        retriever.invoke("licitação")


async def test_in_chains_tools_and_compression(filled):
    retriever = HybridRetriever(index=filled, k=2)
    chain = {"found": retriever, "question": RunnablePassthrough()} | RunnablePassthrough()
    assert chain.invoke("pregão eletrônico")["found"][0].id == "pregao"
    assert TEXTS["pregao"] in create_retriever_tool(retriever, "search", "searches").invoke("pregão eletrônico")
    compression = ContextualCompressionRetriever(
        base_compressor=LimiarRerank(scorer=KeywordScorer()), base_retriever=retriever
    )
    assert [d.id for d in await both(compression, "cluster Proxmox")] == ["quorum"]
    pipeline = hybrid_rerank(filled, LimiarRerank(scorer=KeywordScorer()))
    answer = {"found": pipeline, "question": RunnablePassthrough()} | RunnablePassthrough()
    assert [d.id for d in answer.invoke("cluster Proxmox")["found"]] == ["quorum"]


async def test_a_read_only_index_is_searched_and_not_written(filled):
    with HybridIndex.open(filled.folder, read_only=True, encoder=WordEncoder()) as reader:
        documents = HybridDocumentIndex(index=reader)
        assert (await both(documents, "pregão"))[0].id == "pregao"
        with pytest.raises(StoreWriteError, match="read-only"):
            documents.upsert([Document("novo")])


def test_what_comes_back_is_the_callers_own(filled):
    retriever = HybridRetriever(index=filled)
    first = retriever.invoke("licitação")
    first[0].metadata["retrieval"].clear()
    first[0].metadata["mine"] = 1
    again = retriever.invoke("licitação")
    assert again[0].metadata["retrieval"]
    assert "mine" not in again[0].metadata


# Writing


async def test_ids_are_made_where_there_are_none_and_progress_is_told(empty):
    documents, told = HybridDocumentIndex(index=empty), []
    given = [Document("um"), Document("dois", id="2"), Document("três", id="2")]
    response = documents.upsert(given, progress=lambda *done: told.append(done))
    made, kept = response["succeeded"]
    assert (uuid.UUID(made).version, kept) == (4, "2")
    assert told[-1] == (3, 3)
    assert {d.page_content for d in documents.get([made, kept])} == {"um", "três"}
    assert given[0].id is None


async def test_what_was_deleted_is_told_once(empty):
    documents = HybridDocumentIndex(index=empty)
    documents.upsert([Document("um", id="1"), Document("dois", id="2")])
    expected = {"succeeded": ["1"], "num_deleted": 1, "failed": [], "num_failed": 0}
    assert documents.delete(["1", "1", "nobody"]) == expected
    assert await documents.adelete(["1"]) == {**expected, "succeeded": [], "num_deleted": 0}
    with pytest.raises(InputTypeError, match="wrap a single id"):
        documents.delete("2")
    assert empty.ids() == ["2"]


async def test_what_cannot_be_written(empty):
    documents = HybridDocumentIndex(index=empty)
    for unfit, message in (
        ("text", "items is str"),
        ([Document("t"), "text"], "document 1 is str"),
        (None, "NoneType"),
    ):
        with pytest.raises(InputTypeError, match=message):
            documents.upsert(unfit)
    with pytest.raises(InputTypeError, match="document 0"):
        await documents.aupsert([Document("t", metadata={"x": object()})])
    for refused in (documents.upsert, documents.delete, documents.get):
        with pytest.raises(ConfigurationError, match="unknown argument 'batch'"):
            refused([], batch=3)
    with pytest.raises(ValidationError, match="index"):
        HybridDocumentIndex()
    with pytest.raises(ValidationError, match="exactly one"):
        HybridDocumentIndex(index=empty, retrievers=[HybridRetriever(index=empty)])
    assert len(empty) == 0


def test_no_warning_of_langchains_beta(tmp_path):
    program = (
        "import sys\n"
        "from langchain_limiar import HybridDocumentIndex\n"
        "from limiar import HybridIndex\n"
        "HybridDocumentIndex(index=HybridIndex.create(sys.argv[1])).get(['1'])\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "default", "-c", program, str(tmp_path / "i")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, "Beta" in run.stderr) == (0, False), run.stderr


# LangChain's index() and aindex()


@pytest.fixture(params=["memory", "sql"])
def records(request, tmp_path):
    if request.param == "memory":
        manager = InMemoryRecordManager("limiar")
    else:
        pytest.importorskip("sqlalchemy")
        from langchain_classic.indexes import SQLRecordManager

        manager = SQLRecordManager("limiar", db_url=f"sqlite:///{tmp_path / 'records.db'}")
    manager.create_schema()
    return manager


@pytest.fixture(params=["memory", "sql"])
async def async_records(request, tmp_path):
    if request.param == "memory":
        manager = InMemoryRecordManager("limiar")
    else:
        pytest.importorskip("aiosqlite")
        pytest.importorskip("sqlalchemy")
        from langchain_classic.indexes import SQLRecordManager

        url = f"sqlite+aiosqlite:///{tmp_path / 'records.db'}"
        manager = SQLRecordManager("limiar", db_url=url, async_mode=True)
    await manager.acreate_schema()
    yield manager
    if request.param == "sql":
        await manager.engine.dispose()


def source(**texts):
    return [Document(text, metadata={"source": name.split("_")[0]}) for name, text in texts.items()]


FIRST = source(a_1="Pregão eletrônico.", a_2="Dispensa de licitação.", b_1="Restos a pagar.")
A_CHANGED = source(a_1="Pregão eletrônico.", a_2="Inexigibilidade de licitação.")
EXPECTED = {  # what is left when A_CHANGED alone is given
    None: {"Pregão eletrônico.", "Dispensa de licitação.", "Restos a pagar.", "Inexigibilidade de licitação."},
    "incremental": {"Pregão eletrônico.", "Restos a pagar.", "Inexigibilidade de licitação."},
    "scoped_full": {"Pregão eletrônico.", "Restos a pagar.", "Inexigibilidade de licitação."},
    "full": {"Pregão eletrônico.", "Inexigibilidade de licitação."},
}
OPTIONS = {"source_id_key": "source", "key_encoder": "sha256"}
COUNTS = ("num_added", "num_updated", "num_skipped", "num_deleted")


def texts_of(index):
    return {document.text for document in index.get(index.ids())}


@pytest.mark.parametrize("cleanup", EXPECTED)
def test_index(empty, records, cleanup):
    documents = HybridDocumentIndex(index=empty)

    def run(some):
        result = index_documents(some, records, documents, cleanup=cleanup, **OPTIONS)
        return tuple(result[name] for name in COUNTS)

    assert run(FIRST) == (3, 0, 0, 0)
    keys, embedded = empty._store.keys(), list(empty._encoder.embedded)
    assert run(FIRST) == (0, 0, 3, 0)
    assert (empty._store.keys(), empty._encoder.embedded) == (keys, embedded), "indexing again wrote something"
    deleted = 4 - len(EXPECTED[cleanup])
    assert run(A_CHANGED) == (1, 0, 1, deleted)
    assert texts_of(empty) == EXPECTED[cleanup]
    assert empty.verify().healthy
    assert {d.page_content for d in documents.invoke("pregão", k=10)} == EXPECTED[cleanup]


@pytest.mark.parametrize("cleanup", EXPECTED)
async def test_aindex(empty, async_records, cleanup):
    documents = HybridDocumentIndex(index=empty)

    async def run(some):
        result = await aindex(some, async_records, documents, cleanup=cleanup, **OPTIONS)
        return tuple(result[name] for name in COUNTS)

    assert await run(FIRST) == (3, 0, 0, 0)
    assert await run(FIRST) == (0, 0, 3, 0)
    assert await run(A_CHANGED) == (1, 0, 1, 4 - len(EXPECTED[cleanup]))
    assert texts_of(empty) == EXPECTED[cleanup]


def test_index_with_force_update_and_upsert_kwargs(empty):
    documents, records, told = HybridDocumentIndex(index=empty), InMemoryRecordManager("limiar"), []
    records.create_schema()
    options = {**OPTIONS, "upsert_kwargs": {"progress": lambda *done: told.append(done)}}
    index_documents(FIRST, records, documents, **options)
    assert told[-1] == (3, 3)
    keys = empty._store.keys()
    assert index_documents(FIRST, records, documents, force_update=True, **options)["num_updated"] == 3
    assert empty._store.keys() == keys, "the same documents were written again"
