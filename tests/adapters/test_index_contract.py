"""One contract over a `HybridIndex`: whoever wrote it, the core and both frameworks find the same, sync and async."""

import asyncio
import json
import logging

import pytest
from index_corpus import DOCUMENTS, METADATA, TEXTS, WordEncoder
from langchain_core.documents import Document
from llama_index.core.schema import MetadataMode, TextNode
from pydantic import ValidationError

from langchain_limiar import HybridDocumentIndex
from langchain_limiar import HybridRetriever as LangChainHybrid
from langchain_limiar import LimiarRerank as LangChainRerank
from langchain_limiar import hybrid_rerank as langchain_pipeline
from limiar import HybridIndex, IndexDocument
from limiar.errors import ArmError, ConfigurationError, InputError, StoreError
from limiar.retrieval.provenance import fusion_marks
from limiar.testing import FakeScorer
from llama_index_limiar import HybridRetriever as LlamaIndexHybrid
from llama_index_limiar import LimiarRerank as LlamaIndexRerank
from llama_index_limiar import add_nodes
from llama_index_limiar import hybrid_rerank as llama_index_pipeline

QUERY = "dispensa de licitação"


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Two documents by the core, two by LangChain, two by LlamaIndex."""
    encoder = WordEncoder()
    with HybridIndex.create(tmp_path_factory.mktemp("index") / "i", encoder=encoder) as index:
        index.add(DOCUMENTS[:2])
        HybridDocumentIndex(index=index).upsert(
            [Document(d.fields["text"], id=d.id, metadata=d.metadata) for d in DOCUMENTS[2:4]]
        )
        add_nodes(index, [TextNode(text=d.fields["text"], id_=d.id, metadata=d.metadata) for d in DOCUMENTS[4:]])
        assert encoder.embedded == list(TEXTS.values())
        yield index


@pytest.fixture
def encoder(index):
    encoder = index._encoder
    yield encoder
    encoder.error = None
    encoder.gate.set()


async def through_core(index, query, k, options, *, is_async):
    result = await index.asearch(query, k, **options) if is_async else index.search(query, k, **options)
    return [
        (hit.document.id, hit.document.text, {**hit.document.metadata, **fusion_marks(hit.fused, result.skipped)})
        for hit in result.hits
    ]


async def through_langchain(index, query, k, options, *, is_async):
    retriever = LangChainHybrid(index=index, k=k, **options)
    documents = await retriever.ainvoke(query) if is_async else retriever.invoke(query)
    return [(document.id, document.page_content, document.metadata) for document in documents]


async def through_llama_index(index, query, k, options, *, is_async):
    retriever = LlamaIndexHybrid(index=index, similarity_top_k=k, **options)
    nodes = await retriever.aretrieve(query) if is_async else retriever.retrieve(query)
    assert [node.score for node in nodes] == [node.metadata["fused_score"] for node in nodes]
    for node in nodes:
        assert type(node.node) is TextNode
        for mode in (MetadataMode.EMBED, MetadataMode.LLM):
            told = node.get_content(mode)
            assert "retrieval" not in told
            assert "fused_score" not in told
    return [(node.node_id, node.text, node.metadata) for node in nodes]


WAYS = {"core": through_core, "langchain": through_langchain, "llama_index": through_llama_index}


@pytest.fixture(params=[f"{way}-{mode}" for way in WAYS for mode in ("sync", "async")])
def ask(request, index):
    way, mode = request.param.split("-")

    async def ask(query=QUERY, k=10, **options):
        found = await WAYS[way](index, query, k, options, is_async=mode == "async")
        json.dumps([metadata for _, _, metadata in found], allow_nan=False)
        return found

    return ask


def ids(found):
    return [identity for identity, _, _ in found]


async def test_documents_come_back_as_they_were_with_their_places(ask):
    found = await ask(k=3)
    assert ids(found)[0] == "dispensa"
    assert len(found) == 3
    for identity, text, metadata in found:
        assert text == TEXTS[identity]
        marks = {"fused_score", "retrieval"}
        assert {key: value for key, value in metadata.items() if key not in marks} == METADATA[identity]
        assert marks <= metadata.keys()
    assert found[0][2]["retrieval"].keys() == {"bm25", "dense"}
    assert found[0][2]["retrieval"]["bm25"]["rank"] == 1


@pytest.mark.parametrize(
    "options",
    [{}, {"fusion": "rrf"}, {"fusion": "relative"}, {"fusion": "distribution"}, {"fusion": "rrf", "rrf_k": 1},
     {"weights": {"bm25": 0.3, "dense": 0.7}}, {"candidates": 2}, {"filter": {"year": {"$gte": 2020}}},
     {"field_weights": {"text": 2.0}}, {"timeout": 60.0, "on_error": "skip"}],
)  # fmt: skip
async def test_every_way_gives_what_the_core_gives(ask, index, options):
    assert await ask(**options) == await through_core(index, QUERY, 10, options, is_async=False)


async def test_weights_in_the_arms_order(index):
    named = await through_core(index, QUERY, 10, {"weights": {"bm25": 1.0, "dense": 3.0}}, is_async=False)
    for way in (through_langchain, through_llama_index):
        assert await way(index, QUERY, 10, {"weights": [1.0, 3.0]}, is_async=False) == named


async def test_an_arm_of_weight_zero_is_not_asked(ask, encoder):
    encoder.error = OSError("must not be asked")
    found = await ask(weights={"dense": 0.0})
    assert ids(found)[0] == "dispensa"
    assert all(metadata["retrieval"].keys() == {"bm25"} for _, _, metadata in found)


@pytest.mark.parametrize(
    ("where", "expected"),
    [({"year": 2021}, {"dispensa", "recurso"}), ({"tags": "prazo"}, {"recurso"}),
     ({"$or": [{"topic": "infra"}, {"year": 2019}]}, {"quorum", "ceph", "pregao"}), ({"year": 1900}, set())],
)  # fmt: skip
async def test_filters(ask, where, expected):
    assert set(ids(await ask(filter=where))) == expected


async def test_a_failing_arm(ask, encoder, caplog):
    encoder.error = OSError("gone")
    with pytest.raises(ArmError, match="arm 'dense' failed: "):
        await ask()
    with caplog.at_level(logging.WARNING, logger="limiar"):
        found = await ask(on_error="skip")
    assert ids(found)[0] == "dispensa"
    assert all(metadata["retrieval_skipped"].keys() == {"dense"} for _, _, metadata in found)
    assert QUERY not in caplog.text


async def test_a_late_arm(ask, encoder):
    encoder.gate.clear()
    found = await ask(timeout=0.2, on_error="skip")
    assert found[0][2]["retrieval_skipped"] == {"dense": "TimeoutError: no answer within 0.2 s"}
    with pytest.raises(ArmError, match="arm 'dense' is late"):
        await ask(timeout=0.2)


@pytest.mark.parametrize(
    "options",
    [{"weights": {"nobody": 1.0}}, {"weights": {"bm25": 0.0, "dense": 0.0}}, {"weights": {"bm25": -1.0}},
     {"timeout": 0.0}, {"fusion": "sum"}, {"on_error": "ignore"}, {"rrf_k": 0}, {"candidates": 0},
     {"field_weights": {"title": 1.0}}, {"filter": {"year": {"$almost": 2020}}}],
)  # fmt: skip
async def test_unfit_options(ask, options):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # pydantic's own in LangChain
        await ask(**options)
    assert isinstance(caught.value, ConfigurationError | InputError | ValidationError)


@pytest.mark.parametrize("query", ["", "  \n"])
async def test_blank_queries(ask, query):
    with pytest.raises(InputError):
        await ask(query)


# What the frameworks add


def test_options_of_retrievers_are_refused_over_an_index(index):
    for make in (LangChainHybrid, LlamaIndexHybrid):
        with pytest.raises(ValueError, match="drop_zero is an option for retrievers, not for an index"):
            make(index=index, drop_zero=["bm25"])


@pytest.mark.parametrize("options", [{"filter": {"year": 1}}, {"candidates": 10}, {"field_weights": {"text": 2.0}}])
def test_options_of_an_index_are_refused_over_retrievers(index, options):
    langchain, llama_index = LangChainHybrid(index=index), LlamaIndexHybrid(index=index)
    for make, retriever in ((LangChainHybrid, langchain), (LlamaIndexHybrid, llama_index)):
        with pytest.raises(ValueError, match=f"{next(iter(options))} is an option for an index, not for retrievers"):
            make(retrievers=[retriever], **options)


def test_an_index_or_retrievers_and_nothing_else(index):
    for make in (LangChainHybrid, LlamaIndexHybrid):
        with pytest.raises(ValueError, match="exactly one of them; neither is given"):
            make()
        with pytest.raises(ValueError, match="exactly one of them; both is given"):
            make(index=index, retrievers=[make(index=index)])
        with pytest.raises(ValueError, match="HybridIndex"):
            make(index="index")


async def test_an_index_as_an_arm_among_others(index):
    for document in LangChainHybrid(retrievers={"index": LangChainHybrid(index=index)}, k=2).invoke(QUERY):
        assert document.metadata["retrieval"].keys() == {"index"}
    for node in LlamaIndexHybrid({"index": LlamaIndexHybrid(index=index)}, similarity_top_k=2).retrieve(QUERY):
        assert node.metadata["retrieval"].keys() == {"index"}


async def test_many_at_once_on_one_loop(index):
    langchain, llama_index = LangChainHybrid(index=index), LlamaIndexHybrid(index=index)
    documents = await asyncio.gather(*[langchain.ainvoke(text) for text in TEXTS.values()])
    assert [found[0].id for found in documents] == list(TEXTS)
    nodes = await asyncio.gather(*[llama_index.aretrieve(text) for text in TEXTS.values()])
    assert [found[0].node_id for found in nodes] == list(TEXTS)


async def test_the_whole_pipeline_over_an_index(index):
    scorer = FakeScorer({TEXTS["empenho"]: 0.9, TEXTS["ceph"]: 0.5, TEXTS["pregao"]: 0.44})
    documents = langchain_pipeline(index, LangChainRerank(scorer=scorer)).invoke(QUERY)
    retriever = llama_index_pipeline(index, LlamaIndexRerank(scorer=scorer))
    nodes = retriever.retrieve(QUERY)
    assert [document.id for document in documents] == [node.node_id for node in nodes] == ["empenho", "ceph"]
    assert [len(texts) for _, texts in scorer.calls] == [6, 6]
    assert [document.metadata["relevance_score"] for document in documents] == [node.score for node in nodes]
    assert all("dense" in node.metadata["retrieval"] for node in nodes)
    again = (
        await langchain_pipeline(index, LangChainRerank(scorer=scorer)).ainvoke(QUERY),
        await retriever.aretrieve(QUERY),
    )
    assert again == (documents, nodes)


async def test_the_pipelines_filter(index):
    scorer = FakeScorer(default=0.5)
    langchain = langchain_pipeline(index, LangChainRerank(scorer=scorer), filter={"year": 2024})
    llama_index = llama_index_pipeline(index, LlamaIndexRerank(scorer=scorer), filter={"year": 2024})
    assert (
        {d.id for d in langchain.invoke(QUERY)}
        == {n.node_id for n in llama_index.retrieve(QUERY)}
        == {"quorum", "ceph"}
    )
    of_call, options = {"year": {"$lte": 2020}}, llama_index.with_options
    assert {d.id for d in langchain.invoke(QUERY, filter=of_call)} == {"pregao", "empenho"}
    assert {d.id for d in await langchain.ainvoke(QUERY, filter=of_call)} == {"pregao", "empenho"}
    assert {n.node_id for n in options(filter=of_call).retrieve(QUERY)} == {"pregao", "empenho"}
    assert len(langchain.invoke(QUERY, k=1)) == len(options(similarity_top_k=1).retrieve(QUERY)) == 1
    assert len(langchain.invoke(QUERY)) == len(llama_index.retrieve(QUERY)) == 2


# An index with more fields than one, and what only one framework knows


@pytest.fixture
def titled(tmp_path):
    with HybridIndex.create(tmp_path / "i", fields={"text": 1.0, "title": 3.0}, encoder=WordEncoder()) as index:
        yield index


def test_a_field_is_taken_from_the_metadata_of_its_name(titled):
    HybridDocumentIndex(index=titled).upsert(
        [Document("Corpo.", id="l", metadata={"title": "Pregão"}), Document("Corpo.", id="n", metadata={"title": 7})]
    )
    add_nodes(titled, [TextNode(id_="t", text="Corpo.", metadata={"title": "Dispensa"})])
    assert {d.id: dict(d.fields) for d in titled.get(["l", "n", "t"])} == {
        "l": {"text": "Corpo.", "title": "Pregão"},
        "n": {"text": "Corpo."},
        "t": {"text": "Corpo.", "title": "Dispensa"},
    }
    for query, expected in (("pregão", "l"), ("dispensa", "t")):
        assert LangChainHybrid(index=titled).invoke(query)[0].id == expected
        assert LlamaIndexHybrid(index=titled).retrieve(query)[0].node_id == expected


def test_a_field_comes_back_as_metadata_where_its_name_is_free(titled):
    titled.add(
        [
            IndexDocument("free", {"text": "Corpo do pregão.", "title": "Título"}),
            IndexDocument("taken", {"text": "Corpo do pregão.", "title": "Título"}, {"title": "outro"}),
            IndexDocument("blank", {"text": "Corpo do pregão.", "title": " "}),
        ]
    )
    expected = {"free": "Título", "taken": "outro", "blank": None}
    documents = LangChainHybrid(index=titled).invoke("pregão")
    assert {d.id: d.metadata.get("title") for d in documents} == expected
    assert {d.page_content for d in documents} == {"Corpo do pregão."}
    nodes = LlamaIndexHybrid(index=titled, similarity_top_k=3).retrieve("pregão")
    assert {n.node_id: n.metadata.get("title") for n in nodes} == expected


def test_the_reserved_key_is_refused_and_never_shown(titled):
    with pytest.raises(InputError, match="the metadata of document 0 have the key 'limiar_node'"):
        HybridDocumentIndex(index=titled).upsert([Document("t", metadata={"limiar_node": {}})])
    with pytest.raises(InputError, match="the metadata of node 0 have the key 'limiar_node'"):
        add_nodes(titled, [TextNode(text="t", metadata={"limiar_node": 1})])
    add_nodes(titled, [TextNode(id_="n", text="pregão", metadata={"a": 1}, excluded_llm_metadata_keys=["a"])])
    assert "limiar_node" in titled.get(["n"])[0].metadata
    (found,) = LangChainHybrid(index=titled).invoke("pregão")
    assert found.metadata.keys() == {"a", "fused_score", "retrieval"}
    assert HybridDocumentIndex(index=titled).get(["n"]) == [Document("pregão", id="n", metadata={"a": 1})]
    (node,) = LlamaIndexHybrid(index=titled).retrieve("pregão")
    assert node.metadata.keys() == {"a", "fused_score", "retrieval"}
    assert node.node.excluded_llm_metadata_keys == ["a", "fused_score", "retrieval"]


def test_a_closed_index_says_so(titled):
    langchain, llama_index = LangChainHybrid(index=titled), LlamaIndexHybrid(index=titled)
    titled.close()
    for ask in (langchain.invoke, llama_index.retrieve):
        with pytest.raises(StoreError, match="is closed"):
            ask("pregão")
