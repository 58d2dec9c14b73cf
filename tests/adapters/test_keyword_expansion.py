"""One contract of keyword expansion: the core and both frameworks find the same, sync and async, and give no word away.

Generated words are invented here ("ZZ" and a letter), so that they can be looked for in everything that comes back.
"""

import json
import logging
import pickle
import threading

import pytest
from index_corpus import METADATA, TEXTS, WordEncoder
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager
from langchain_core.indexing import index as langchain_index
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import Document as LlamaIndexDocument
from llama_index.core.schema import IndexNode, MetadataMode, NodeWithScore, TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from pydantic import ValidationError

from langchain_limiar import HybridDocumentIndex
from langchain_limiar import HybridRetriever as LangChainHybrid
from langchain_limiar import KeywordExpander as LangChainExpander
from langchain_limiar import KeywordExpansionRetriever as LangChainRetriever
from langchain_limiar import LimiarRerank as LangChainRerank
from langchain_limiar import hybrid_rerank as langchain_pipeline
from limiar import (
    Expander,
    ExpansionPrompt,
    ExpansionStore,
    FunctionChat,
    HybridIndex,
    IndexDocument,
    OfflineGenerator,
    QueryExpander,
)
from limiar.errors import ArmError, ChatError, ConfigurationError, InputError, InputTypeError
from limiar.keywords.expanded_search import ExpandedSearch
from limiar.retrieval.framework_documents import EXPANSION_KEY
from limiar.retrieval.provenance import fusion_marks
from limiar.testing import FakeScorer
from llama_index_limiar import HybridRetriever as LlamaIndexHybrid
from llama_index_limiar import KeywordExpander as LlamaIndexExpander
from llama_index_limiar import KeywordExpansionRetriever as LlamaIndexRetriever
from llama_index_limiar import LimiarRerank as LlamaIndexRerank
from llama_index_limiar import add_nodes
from llama_index_limiar import hybrid_rerank as llama_index_pipeline

QUERY = "dispensa de licitação"
VIEWS = ("text", "keywords", "both")
WORDS = {"dispensa": "zza", "pregao": "zzb", "recurso": "zzc", "empenho": "zzd", "quorum": "zze", "ceph": "zzf"}
ANSWER = json.dumps(
    {
        "keywords": [{"term": "licitação", "synonyms": ["pregão eletrônico"]}],
        "questions": ["O que há de restos a pagar?", "Quantas cópias guarda o Ceph?"],
    }
)


class Model:
    """Writes about documents the word of `WORDS`, about anything else `ANSWER`."""

    def __init__(self, error=None):
        self.asked = []
        self.error = error
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, messages):
        text = messages[1]["content"].split("\n")[1]
        self.asked.append(text)
        self.gate.wait(60)
        if self.error is not None:
            raise self.error
        name = next((name for name in TEXTS if TEXTS[name] == text), None)
        if name is None:
            return ANSWER
        word = WORDS[name]
        return json.dumps(
            {
                "keywords": [{"term": word, "synonyms": [f"{word} sinônimo"]}, {"term": f"{word} outro"}],
                "questions": [f"O que é {word}?"],
                "statement": f"Fala de {word}.",
            }
        )


def source_of(model, folder):
    prompt = ExpansionPrompt(questions=1, statement=True)
    return Expander(FunctionChat(model, "example"), ExpansionStore(folder / "words.sqlite"), prompt, max_retries=0)


def expander_of(model, **options):
    return QueryExpander(FunctionChat(model, "example"), **{"timeout": 60.0, "max_retries": 0, **options})


def documents(names=TEXTS):
    return [Document(TEXTS[name], id=name, metadata=METADATA[name]) for name in names]


def nodes(names=TEXTS):
    return [TextNode(id_=name, text=TEXTS[name], metadata=METADATA[name]) for name in names]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Two documents expanded and written by the core, two by LangChain, two by LlamaIndex."""
    folder, model = tmp_path_factory.mktemp("index"), Model()
    first, second, third = list(TEXTS)[:2], list(TEXTS)[2:4], list(TEXTS)[4:]
    with HybridIndex.create(folder / "i", views=VIEWS, encoder=WordEncoder()) as index:
        fields = [expanded(name) for name in first]
        index.add([IndexDocument(n, {"text": TEXTS[n]}, METADATA[n], g) for n, g in zip(first, fields, strict=True)])
        source = source_of(model, folder)
        HybridDocumentIndex(index=index).upsert(LangChainExpander(source).transform_documents(documents(second)))
        add_nodes(index, LlamaIndexExpander(expander=source)(nodes(third)))
        assert sorted(model.asked) == sorted(TEXTS[name] for name in [*second, *third])
        assert {d.id: dict(d.generated) for d in index.get(TEXTS)} == {name: expanded(name) for name in TEXTS}
        yield index


def expanded(name):
    word = WORDS[name]
    return {
        "keywords": f"{word} {word} sinônimo; {word} outro",
        "questions": f"O que é {word}?",
        "statement": f"Fala de {word}.",
    }


@pytest.fixture
def encoder(index):
    encoder = index._encoder
    yield encoder
    encoder.error = None
    encoder.gate.set()


async def through_core(index, query, k, options, *, is_async):
    search = ExpandedSearch(index, **options)
    result = await search.arun(query, k) if is_async else search.run(query, k)
    return [
        (hit.document.id, hit.document.text, {**hit.document.metadata, **fusion_marks(hit.fused, result.skipped)})
        for hit in result.hits
    ]


async def through_langchain(index, query, k, options, *, is_async):
    retriever = LangChainRetriever(index=index, k=k, **options)
    found = await retriever.ainvoke(query) if is_async else retriever.invoke(query)
    return [(document.id, document.page_content, document.metadata) for document in found]


async def through_llama_index(index, query, k, options, *, is_async):
    retriever = LlamaIndexRetriever(index, similarity_top_k=k, **options)
    found = await retriever.aretrieve(query) if is_async else retriever.retrieve(query)
    for node in found:
        assert type(node.node) is TextNode
        for mode in (MetadataMode.EMBED, MetadataMode.LLM):
            assert "fused_score" not in node.get_content(mode)
        assert "zz" not in node.get_content(MetadataMode.ALL)
        assert "zz" not in node.node.to_json()
        assert EXPANSION_KEY not in node.node.to_json()
    return [(node.node_id, node.text, node.metadata) for node in found]


WAYS = {"core": through_core, "langchain": through_langchain, "llama_index": through_llama_index}


@pytest.fixture(params=[f"{way}-{mode}" for way in WAYS for mode in ("sync", "async")])
def ask(request, index):
    way, mode = request.param.split("-")

    async def ask(query=QUERY, k=10, **options):
        found = await WAYS[way](index, query, k, options, is_async=mode == "async")
        told = json.dumps(found, allow_nan=False)
        assert "zz" not in told
        assert EXPANSION_KEY not in told
        return found

    return ask


def ids(found):
    return [identity for identity, _, _ in found]


# What is found, and what comes back


@pytest.mark.parametrize("name", TEXTS)
async def test_generated_words_find_the_original_document(ask, name):
    found = await ask(WORDS[name], index_on="keywords", weights={"dense": 0.0})
    ((identity, text, metadata),) = found
    assert (identity, text) == (name, TEXTS[name])
    marks = {"fused_score", "retrieval"}
    assert {key: value for key, value in metadata.items() if key not in marks} == METADATA[name]


@pytest.mark.parametrize(
    ("index_on", "found"),
    [("text", False), ("keywords", True), ("both", True), (None, True), ({"bm25": "text"}, False),
     ({"bm25": "both", "dense": "text"}, True)],
)  # fmt: skip
async def test_the_view_of_each_arm(ask, index_on, found):
    hits = await ask("zzf", index_on=index_on)
    by_bm25 = [identity for identity, _, metadata in hits if "bm25" in metadata["retrieval"]]
    assert by_bm25 == (["ceph"] if found else [])


@pytest.mark.parametrize(
    "options",
    [{}, {"index_on": "text"}, {"index_on": {"dense": "keywords"}}, {"variant_weight": 0.9}, {"fusion": "rrf"},
     {"fusion": "distribution"}, {"weights": {"bm25": 0.3}}, {"candidates": 2}, {"filter": {"year": {"$gte": 2020}}},
     {"field_weights": {"questions": 2.0}}, {"timeout": 60.0, "on_error": "skip"}],
)  # fmt: skip
async def test_every_way_gives_what_the_core_gives(ask, index, options):
    options = {**options, "expander": expander_of(Model())}
    found = await ask(**options)
    assert found == await through_core(index, QUERY, 10, options, is_async=False)
    assert all(metadata["retrieval"].keys() >= {"variant 1"} for _, _, metadata in found[:1])


async def test_marks_of_a_reworded_query(ask):
    found = await ask(expander=expander_of(Model()), index_on="text")
    assert ids(found)[0] == "dispensa"
    places = {identity: metadata["retrieval"] for identity, _, metadata in found}
    assert places["dispensa"]["bm25"]["rank"] == 1
    assert places["empenho"]["variant 2"]["rank"] == places["ceph"]["variant 3"]["rank"] == 1
    assert all("retrieval_skipped" not in metadata for _, _, metadata in found)


async def test_k_and_filters_hold_for_variants(ask):
    expander = expander_of(Model())
    assert len(await ask(k=2, expander=expander)) == 2
    assert set(ids(await ask(expander=expander, filter={"year": 2021}))) == {"dispensa", "recurso"}
    assert await ask(expander=expander, filter={"year": 1900}) == []


async def test_a_plain_query(ask, index):
    found = await ask(k=3)
    hybrid = index.search(QUERY, 3)
    assert ids(found) == [hit.document.id for hit in hybrid.hits]
    assert found[0][2]["retrieval"].keys() == {"bm25", "dense"}


# What goes wrong


async def test_a_late_model(ask):
    model = Model()
    model.gate.clear()
    expander = expander_of(model, timeout=0.05)
    late = await ask(expander=expander)
    assert ids(late) == ids(await ask())
    assert all(m["retrieval_skipped"] == {"query expansion": "no answer within 0.05 s"} for _, _, m in late)
    under_way = expander.begin(QUERY)
    model.gate.set()
    under_way.result(60)
    found = await ask(expander=expander)
    assert all("retrieval_skipped" not in metadata for _, _, metadata in found)
    assert model.asked == [QUERY]


async def test_a_failing_model(ask, caplog):
    model = Model(OSError("secret"))
    expander = expander_of(model)
    with caplog.at_level(logging.WARNING, logger="limiar"):
        found = await ask(expander=expander)
    assert ids(found) == ids(await ask())
    assert found[0][2]["retrieval_skipped"] == {"query expansion": "no answer of example: OSError"}
    assert QUERY not in caplog.text
    assert "secret" not in caplog.text
    model.error = None
    assert "retrieval_skipped" not in (await ask(expander=expander))[0][2]


async def test_a_failing_arm(ask, encoder):
    encoder.error = OSError("gone")
    expander = expander_of(Model())
    with pytest.raises(ArmError, match="arm 'dense' failed"):
        await ask(expander=expander)
    skipped = (await ask(expander=expander, on_error="skip"))[0][2]["retrieval_skipped"]
    assert skipped.keys() == {"dense", "variant 1 dense", "variant 2 dense", "variant 3 dense"}


@pytest.mark.parametrize("query", ["", "  \n"])
async def test_blank_queries_ask_nobody(ask, query):
    model = Model()
    with pytest.raises(InputError):
        await ask(query, expander=expander_of(model))
    assert model.asked == []


@pytest.mark.parametrize(
    "options",
    [{"variant_weight": 0.0}, {"variant_weight": 1.0}, {"variant_weight": float("nan")}, {"expander": "gpt-4o-mini"},
     {"index_on": "title"}, {"index_on": {"sparse": "text"}}, {"timeout": 0.0}, {"field_weights": {"title": 1.0}},
     {"filter": {"year": {"$almost": 2020}}}],
)  # fmt: skip
async def test_unfit_options(ask, options):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # pydantic's own in LangChain
        await ask(**options)
    assert isinstance(caught.value, ConfigurationError | InputError | ValidationError)


def test_unknown_options_and_retrievers_are_refused(index):
    with pytest.raises(ValidationError, match="synonyms"):
        LangChainRetriever(index=index, synonyms=3)
    with pytest.raises(TypeError, match="synonyms"):
        LlamaIndexRetriever(index, synonyms=3)
    with pytest.raises(ValueError, match="both is given"):
        LangChainRetriever(index=index, retrievers=[LangChainHybrid(index=index)])
    with pytest.raises(ConfigurationError, match="both is given"):
        LlamaIndexRetriever(index, retrievers=[LlamaIndexHybrid(index=index)])
    with pytest.raises(ValidationError, match="HybridIndex"):
        LangChainRetriever(index="index")
    with pytest.raises(ConfigurationError, match="HybridIndex"):
        LlamaIndexRetriever("index")


def test_an_index_without_views_is_searched_by_its_texts(tmp_path):
    with HybridIndex.create(tmp_path / "i", encoder=WordEncoder()) as plain:
        expected = "no view of generated texts; make one with views="
        source = source_of(Model(), tmp_path)
        with pytest.raises(ConfigurationError, match=expected):
            HybridDocumentIndex(index=plain).upsert(LangChainExpander(source).transform_documents(documents()))
        with pytest.raises(ConfigurationError, match=expected):
            add_nodes(plain, LlamaIndexExpander(expander=source)(nodes()))
        add_nodes(plain, nodes())
        expander = expander_of(Model())
        for found in (
            LangChainRetriever(index=plain, expander=expander).invoke(QUERY),
            LlamaIndexRetriever(plain, expander=expander).retrieve(QUERY),
        ):
            assert "variant 1" in found[0].metadata["retrieval"]
        for make in (LangChainRetriever, LlamaIndexRetriever):
            with pytest.raises(ValueError, match="the bm25 arm of this index has text; make an index with other views"):
                make(index=plain, index_on="both")


# No word where it was not asked for


async def test_the_reranker_reads_original_texts_only(index):
    scorer = FakeScorer({TEXTS["ceph"]: 0.9, TEXTS["empenho"]: 0.5})
    expander = expander_of(Model())
    langchain = langchain_pipeline(LangChainRetriever(index=index, expander=expander), LangChainRerank(scorer=scorer))
    llama_index = llama_index_pipeline(LlamaIndexRetriever(index, expander=expander), LlamaIndexRerank(scorer=scorer))
    for found in (langchain.invoke(QUERY), await langchain.ainvoke(QUERY)):
        assert [document.id for document in found] == ["ceph", "empenho"]
    for found in (llama_index.retrieve(QUERY), await llama_index.aretrieve(QUERY)):
        assert [node.node_id for node in found] == ["ceph", "empenho"]
    assert len(scorer.calls) == 4
    for query, texts in scorer.calls:
        assert query == QUERY
        assert sorted(texts) == sorted(TEXTS.values())


async def test_a_pipeline_over_a_ready_retriever(index):
    scorer = FakeScorer(default=0.5)
    langchain = LangChainRetriever(index=index, k=1, filter={"year": 2024})
    pipeline = langchain_pipeline(langchain, LangChainRerank(scorer=scorer), k=5)
    assert {d.id for d in pipeline.invoke(QUERY)} == {"quorum", "ceph"}
    assert {d.id for d in await pipeline.ainvoke(QUERY, filter={"year": 2020})} == {"empenho"}
    assert len(pipeline.invoke(QUERY, k=1)) == 1
    llama_index = LlamaIndexRetriever(index, similarity_top_k=1, filter={"year": 2024})
    reranked = llama_index_pipeline(llama_index, LlamaIndexRerank(scorer=scorer), similarity_top_k=5)
    assert {n.node_id for n in reranked.retrieve(QUERY)} == {"quorum", "ceph"}
    assert {n.node_id for n in reranked.with_options(filter={"year": 2020}).retrieve(QUERY)} == {"empenho"}
    assert (langchain.k, llama_index.similarity_top_k) == (1, 1)
    assert reranked.callback_manager is llama_index.callback_manager
    plain = langchain_pipeline(LangChainHybrid(index=index), LangChainRerank(scorer=scorer, top_n=10))
    assert len(plain.invoke(QUERY)) == 6
    for make, source in ((langchain_pipeline, langchain), (llama_index_pipeline, llama_index)):
        with pytest.raises(ConfigurationError, match="timeout is given for a KeywordExpansionRetriever"):
            make(source, timeout=1.0)
    with pytest.raises(ValidationError):
        langchain_pipeline(langchain, k=0)
    with pytest.raises(ConfigurationError):
        llama_index_pipeline(llama_index, similarity_top_k=0)


def test_only_views_with_words_are_embedded_with_words(tmp_path):
    for views, expected in ((("text",), []), (("text", "both"), ["zza"])):
        encoder = WordEncoder()
        arms = {"bm25": ("text", "both"), "dense": views}
        with HybridIndex.create(tmp_path / f"{len(views)}", views=arms, encoder=encoder) as index:
            add_nodes(index, LlamaIndexExpander(expander=source_of(Model(), tmp_path))(nodes(["dispensa"])))
            assert encoder.embedded[0] == TEXTS["dispensa"]
            assert [word for text in encoder.embedded[1:] for word in ("zza",) if word in text] == expected
            assert LangChainRetriever(index=index).invoke("zza")[0].metadata["retrieval"]["bm25"]["rank"] == 1


def test_the_weight_of_the_statement_itself(tmp_path):
    encoder = WordEncoder()
    arms = {"bm25": ("text", "both"), "dense": ("both",)}
    with HybridIndex.create(tmp_path / "i", views=arms, text_weight=3, encoder=encoder) as index:
        HybridDocumentIndex(index=index).upsert(
            LangChainExpander(source_of(Model(), tmp_path)).transform_documents(documents(["ceph"]))
        )
    (text,) = encoder.embedded
    assert text.count(TEXTS["ceph"]) == 3
    assert text.count("Fala de zzf.") == 1


# Document transformers


def transformed_by_langchain(source, names=TEXTS):
    return {d.id: (d.page_content, d.metadata) for d in LangChainExpander(source).transform_documents(documents(names))}


def transformed_by_llama_index(source, names=TEXTS):
    return {n.node_id: (n.text, n.metadata) for n in LlamaIndexExpander(expander=source)(nodes(names))}


TRANSFORMERS = pytest.mark.parametrize("transformed", [transformed_by_langchain, transformed_by_llama_index])


@TRANSFORMERS
def test_transformers_return_copies_with_words(transformed, tmp_path):
    model = Model()
    found = transformed(source_of(model, tmp_path))
    assert found == {name: (TEXTS[name], {**METADATA[name], EXPANSION_KEY: expanded(name)}) for name in TEXTS}
    assert all(EXPANSION_KEY not in metadata for metadata in METADATA.values())
    assert transformed(source_of(model, tmp_path)) == found
    assert len(model.asked) == len(TEXTS)
    json.dumps(found)


@TRANSFORMERS
def test_an_offline_source(transformed, tmp_path):
    source = OfflineGenerator(terms=3, related=0, encoder=WordEncoder())
    found = transformed(source)
    assert all(metadata[EXPANSION_KEY].keys() == {"keywords"} for _, metadata in found.values())
    assert "pregão" in found["pregao"][1][EXPANSION_KEY]["keywords"]


@TRANSFORMERS
def test_a_server_that_refuses_everyone(transformed, tmp_path):
    with pytest.raises(ChatError):
        transformed(source_of(Model(ChatError("wrong key", kind="fatal")), tmp_path))


def test_words_of_an_earlier_model_are_replaced(tmp_path):
    earlier = {EXPANSION_KEY: {"keywords": "velho"}, "year": 2021}
    source = source_of(Model(), tmp_path)
    (document,) = LangChainExpander(source).transform_documents([Document(TEXTS["ceph"], metadata=earlier)])
    (node,) = LlamaIndexExpander(expander=source)([TextNode(text=TEXTS["ceph"], metadata=earlier)])
    assert document.metadata == node.metadata == {"year": 2021, EXPANSION_KEY: expanded("ceph")}
    (document,) = LangChainExpander(source).transform_documents([Document(" ", metadata=earlier)])
    (node,) = LlamaIndexExpander(expander=source)([TextNode(text=" ", metadata=earlier)])
    assert document.metadata == node.metadata == {"year": 2021}


def test_nodes_hide_words_from_embedding_models_and_llms(tmp_path):
    given = nodes(["ceph"])
    before = given[0].model_copy(deep=True)
    (node,) = LlamaIndexExpander(expander=source_of(Model(), tmp_path))(given)
    assert given == [before]
    assert type(node) is TextNode
    for mode in (MetadataMode.EMBED, MetadataMode.LLM, MetadataMode.NONE):
        assert node.get_content(mode) == before.get_content(mode)
    scorer = FakeScorer()
    for mode in (MetadataMode.NONE, MetadataMode.EMBED, MetadataMode.LLM):
        reranker = LlamaIndexRerank(scorer=scorer, metadata_mode=mode)
        reranker.postprocess_nodes([NodeWithScore(node=node)], query_str=QUERY)
    assert len(scorer.calls) == 3
    assert "zz" not in json.dumps(scorer.calls)


@pytest.mark.parametrize("source", [None, "gpt-4o-mini", Model()])
def test_what_cannot_expand(source):
    with pytest.raises(ConfigurationError, match=r"expected a limiar\.Expander"):
        LangChainExpander(source)
    with pytest.raises(ValueError, match=r"expected a limiar\.Expander"):
        LlamaIndexExpander(expander=source)


def test_what_are_no_documents(tmp_path):
    source = source_of(Model(), tmp_path)
    with pytest.raises(InputTypeError, match="document 1 is str"):
        LangChainExpander(source).transform_documents([*documents(["ceph"]), "text"])
    with pytest.raises(InputTypeError, match="node 1 is str"):
        LlamaIndexExpander(expander=source)([*nodes(["ceph"]), "text"])
    with pytest.raises(ValidationError):
        LlamaIndexExpander(expander=source, words=3)


@pytest.mark.parametrize("given", [None, 7, "text", {"text": "text"}, Document("text"), TextNode(text="text")])
def test_what_holds_no_documents(empty, tmp_path, given):
    source = source_of(Model(), tmp_path)
    langchain, llama_index = LangChainExpander(source), LlamaIndexExpander(expander=source)
    for taken, what in (
        (langchain.transform_documents, "documents"),
        (HybridDocumentIndex(index=empty).upsert, "items"),
    ):
        if not isinstance(given, TextNode):
            with pytest.raises(InputTypeError, match=f"^{what} is {type(given).__name__}; expected a sequence"):
                taken(given)
    for taken in (llama_index, lambda nodes: add_nodes(empty, nodes)):
        if not isinstance(given, Document):
            with pytest.raises(InputTypeError, match=f"^nodes is {type(given).__name__}; expected an iterable"):
                taken(given)


def test_a_transformation_refuses_to_be_pickled_and_outlives_the_attempt(tmp_path):
    """LlamaIndex takes out of a component what cannot be pickled, and so would out of this very one."""
    expander = LlamaIndexExpander(expander=source_of(Model(), tmp_path))
    for run in (
        lambda: pickle.dumps(expander),
        lambda: IngestionPipeline(transformations=[expander]).run(nodes=nodes(), num_workers=2),
    ):
        with pytest.raises(ConfigurationError, match="num_workers"):
            run()
        assert expander(nodes(["ceph"]))[0].metadata[EXPANSION_KEY] == expanded("ceph")


class ThreadNotingEncoder(WordEncoder):
    def __init__(self):
        super().__init__()
        self.threads = set()

    def embed_documents(self, texts, *, progress=None):
        self.threads.add(threading.current_thread())
        return super().embed_documents(texts, progress=progress)


async def test_transformers_off_the_event_loop(tmp_path):
    source = source_of(Model(), tmp_path)
    sync = LangChainExpander(source).transform_documents(documents()), LlamaIndexExpander(expander=source)(nodes())
    langchain = await LangChainExpander(source).atransform_documents(documents())
    assert (langchain, await LlamaIndexExpander(expander=source).acall(nodes())) == sync
    for run in (
        lambda source: LangChainExpander(source).atransform_documents(documents()),
        lambda source: LlamaIndexExpander(expander=source).acall(nodes()),
    ):
        encoder = ThreadNotingEncoder()
        await run(OfflineGenerator(related=0, encoder=encoder))
        assert encoder.threads
        assert threading.current_thread() not in encoder.threads


# Writing with words


@pytest.fixture
def empty(tmp_path):
    with HybridIndex.create(tmp_path / "i", views=VIEWS, encoder=WordEncoder()) as index:
        yield index


def by_langchain(index, text, words, year):
    metadata = {"year": year, **({EXPANSION_KEY: words} if words else {})}
    HybridDocumentIndex(index=index).upsert([Document(text, id="a", metadata=metadata)])


def by_llama_index(index, text, words, year):
    metadata = {"year": year, **({EXPANSION_KEY: words} if words else {})}
    add_nodes(index, [TextNode(id_="a", text=text, metadata=metadata)])


WRITERS = pytest.mark.parametrize("write", [by_langchain, by_llama_index])


@WRITERS
def test_words_stay_as_long_as_the_text_does(empty, write):
    def words():
        (document,) = empty.get(["a"])
        assert EXPANSION_KEY not in document.metadata
        return dict(document.generated)

    write(empty, "O pregão.", {"keywords": "zza", "questions": " "}, 2020)
    assert words() == {"keywords": "zza"}
    write(empty, "O pregão.", {}, 2020)
    assert words() == {"keywords": "zza"}
    write(empty, "O pregão.", {}, 2021)
    assert words() == {"keywords": "zza"}
    assert LangChainRetriever(index=empty, index_on="keywords").invoke("zza", filter={"year": 2021})
    write(empty, "O pregão.", {"questions": "zzb?"}, 2021)
    assert words() == {"questions": "zzb?"}
    assert not LangChainRetriever(index=empty, index_on="keywords", weights={"dense": 0.0}).invoke("zza")
    write(empty, "O pregão eletrônico.", {}, 2021)
    assert words() == {}
    assert not LangChainRetriever(index=empty, index_on="both", weights={"dense": 0.0}).invoke("zzb")


@WRITERS
@pytest.mark.parametrize(
    ("words", "message"),
    [("zza", "'limiar_expansion' in the metadata of (document|node) 0 is str"), ({"keywords": 7}, "int"),
     ({"synonyms": "zza"}, "unknown generated field 'synonyms'"), (["zza"], "is list")],
)  # fmt: skip
def test_words_of_another_form(empty, write, words, message):
    with pytest.raises(InputError, match=message):
        write(empty, "O pregão.", words, 2020)
    assert len(empty) == 0


def test_the_same_nodes_again_change_nothing(empty, tmp_path):
    expander = LlamaIndexExpander(expander=source_of(Model(), tmp_path))
    assert add_nodes(empty, expander(nodes())).added == len(TEXTS)
    assert add_nodes(empty, expander(nodes())).unchanged == len(TEXTS)
    assert add_nodes(empty, nodes()).unchanged == len(TEXTS)
    assert {d.id: dict(d.generated) for d in empty.get(TEXTS)} == {name: expanded(name) for name in TEXTS}


def test_nodes_come_back_as_they_were_before_their_words(empty, tmp_path):
    """With relationships, excluded keys and an object: what a node has is kept, and the words are in none of it."""
    expander = LlamaIndexExpander(expander=source_of(Model(), tmp_path))
    whole = LlamaIndexDocument(id_="lei", text=TEXTS["ceph"], metadata={"year": 2024})
    parts = SentenceSplitter().get_nodes_from_documents(list(expander([whole])))
    plain = SentenceSplitter().get_nodes_from_documents([whole])
    assert EXPANSION_KEY in parts[0].metadata
    target = expander(nodes(["pregao"]))[0]
    leading = IndexNode(
        id_="i", text=TEXTS["quorum"], index_id="pregao", obj=target, excluded_llm_metadata_keys=["year"]
    )
    add_nodes(empty, [*parts, *expander([leading])])
    retriever = LlamaIndexRetriever(empty, similarity_top_k=10, weights={"dense": 0.0}, index_on="keywords")
    (part,) = retriever.retrieve("zzf")
    assert "zz" not in part.node.to_json()
    assert part.node.relationships.keys() == plain[0].relationships.keys()
    assert part.node.source_node.metadata == {"year": 2024}
    assert part.node.excluded_llm_metadata_keys == ["fused_score", "retrieval"]
    (found,) = LlamaIndexHybrid(index=empty, index_on="keywords", weights={"dense": 0.0}).retrieve("zze")
    assert "zz" not in found.get_content(MetadataMode.ALL)
    assert EXPANSION_KEY not in found.metadata


def test_an_ingestion_pipeline(empty, tmp_path):
    model = Model()
    source = source_of(model, tmp_path)
    pipeline = IngestionPipeline(transformations=[SentenceSplitter(), LlamaIndexExpander(expander=source)])
    given = [LlamaIndexDocument(text=TEXTS[name], metadata=METADATA[name]) for name in TEXTS]
    made = pipeline.run(documents=given)
    add_nodes(empty, made)
    (node,) = LlamaIndexRetriever(empty, weights={"dense": 0.0}, index_on="keywords").retrieve("zzc")
    assert (node.text, node.node.source_node.node_id) == (TEXTS["recurso"], given[2].id_)
    assert [n.metadata for n in pipeline.run(documents=given)] == [n.metadata for n in made]
    assert len(model.asked) == len(TEXTS)
    other = Expander(FunctionChat(Model(), "another"), source.store, source.prompt)
    another = LlamaIndexExpander(expander=other)
    assert another.to_dict() != pipeline.transformations[1].to_dict()  # or the pipeline's cache would mix them up
    assert LlamaIndexExpander.from_dict(another.to_dict(), expander=other).expander is other


async def test_an_ingestion_pipeline_off_the_event_loop(empty, tmp_path):
    pipeline = IngestionPipeline(transformations=[LlamaIndexExpander(expander=source_of(Model(), tmp_path))])
    add_nodes(empty, await pipeline.arun(nodes=nodes()))
    assert {d.id: dict(d.generated) for d in empty.get(TEXTS)} == {name: expanded(name) for name in TEXTS}


def test_langchains_index_function(empty, tmp_path):
    model = Model()
    transformer = LangChainExpander(source_of(model, tmp_path))
    target = HybridDocumentIndex(index=empty, index_on="keywords", weights={"dense": 0.0})
    records = InMemoryRecordManager("test")
    records.create_schema()

    def sync(names):
        given = [Document(TEXTS[name], metadata={**METADATA[name], "source": "lei"}) for name in names]
        made = transformer.transform_documents(given)
        return langchain_index(made, records, target, cleanup="full", key_encoder="sha256")

    assert sync(TEXTS)["num_added"] == len(TEXTS)
    assert sync(TEXTS)["num_skipped"] == len(TEXTS)
    assert len(model.asked) == len(TEXTS)
    (found,) = target.invoke("zzc")
    assert (found.page_content, found.metadata["source"]) == (TEXTS["recurso"], "lei")
    assert EXPANSION_KEY not in found.metadata
    assert sync(["ceph"])["num_deleted"] == len(TEXTS) - 1
    assert target.invoke("zzc") == []


# What only one framework knows


def test_with_options_keeps_the_expander(index):
    expander = expander_of(Model())
    retriever = LlamaIndexRetriever(index, expander=expander, variant_weight=0.5)
    where = MetadataFilters(filters=[MetadataFilter(key="year", value=2021)])
    chosen = retriever.with_options(similarity_top_k=5, filter=where)
    assert type(chosen) is LlamaIndexRetriever
    found = chosen.retrieve(QUERY)
    assert {node.node_id for node in found} == {"dispensa", "recurso"}
    assert "variant 1" in found[0].metadata["retrieval"]
    assert len(retriever.retrieve(QUERY)) == 2


def test_options_of_a_call_and_assignment(index):
    model = Model()
    retriever = LangChainRetriever(index=index, k=1)
    assert "variant 1" not in retriever.invoke(QUERY)[0].metadata["retrieval"]
    retriever.expander = expander_of(model)
    found = retriever.invoke(QUERY, k=5, filter={"year": 2021})
    assert {document.id for document in found} == {"dispensa", "recurso"}
    assert "variant 1" in found[0].metadata["retrieval"]
    with pytest.raises(ValidationError):
        retriever.variant_weight = 1.0
    for k in (0, -1):
        with pytest.raises(ConfigurationError, match="k="):
            retriever.invoke(QUERY, k=k)
