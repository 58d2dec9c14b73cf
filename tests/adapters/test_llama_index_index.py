"""`HybridRetriever` and `add_nodes` over a `HybridIndex` in LlamaIndex: rebuilt nodes, filters, consumers."""

import datetime as dt
import threading

import pytest
from index_corpus import DOCUMENTS, TEXTS, WordEncoder
from llama_index.core import Settings
from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import HierarchicalNodeParser, get_leaf_nodes
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.retrievers import AutoMergingRetriever, RouterRetriever
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    ObjectType,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.storage import StorageContext
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.tools import RetrieverTool, ToolMetadata
from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from limiar import HybridIndex, IndexDocument
from limiar.errors import ConfigurationError, InputError, InputTypeError, StoreDamagedError
from limiar.testing import FakeScorer, KeywordScorer
from llama_index_limiar import HybridRetriever, LimiarRerank, RerankedRetriever, add_nodes, hybrid_rerank


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    with HybridIndex.create(tmp_path_factory.mktemp("index") / "i", encoder=WordEncoder()) as index:
        index.add(DOCUMENTS)
        yield index


@pytest.fixture
def empty(tmp_path):
    with HybridIndex.create(tmp_path / "i", encoder=WordEncoder()) as index:
        yield index


@pytest.fixture(autouse=True)
def no_llm_is_resolved(monkeypatch):
    def refuse(*args, **kwargs):
        pytest.fail("an LLM was resolved")

    monkeypatch.setattr("llama_index.core.settings.resolve_llm", refuse)
    monkeypatch.setattr(Settings, "_llm", None)


async def both(retriever, query="licitação"):
    sync, asynchronous = retriever.retrieve(query), await retriever.aretrieve(query)
    assert sync == asynchronous
    return sync


def without_marks(node):
    marks = {"fused_score", "retrieval"}
    return node.model_copy(
        update={
            "metadata": {key: value for key, value in node.metadata.items() if key not in marks},
            "excluded_embed_metadata_keys": [key for key in node.excluded_embed_metadata_keys if key not in marks],
            "excluded_llm_metadata_keys": [key for key in node.excluded_llm_metadata_keys if key not in marks],
        }
    )


# Nodes


NODES = [
    TextNode(id_="plain", text="licitação"),
    TextNode(
        id_="full",
        text="licitação\ncom quebra ",
        metadata={"source": "a.pdf", "on": dt.date(2021, 4, 1), "list": ["x"]},
        excluded_embed_metadata_keys=["source"],
        excluded_llm_metadata_keys=["on"],
        metadata_template="{key} = {value}",
        metadata_separator="; ",
        text_template="{content} ({metadata_str})",
        start_char_idx=0,
        end_char_idx=9,
        mimetype="text/markdown",
        relationships={
            NodeRelationship.SOURCE: RelatedNodeInfo(
                node_id="doc", node_type=ObjectType.DOCUMENT, metadata={"on": dt.date(2021, 4, 1)}, hash="h"
            ),
            NodeRelationship.NEXT: RelatedNodeInfo(node_id="plain"),
            NodeRelationship.CHILD: [RelatedNodeInfo(node_id="c1"), RelatedNodeInfo(node_id="c2", metadata={"n": 1})],
        },
    ),
    ImageNode(id_="image", text="planta da licitação", image_path="/tmp/planta.png", image="aGVq"),
    IndexNode(id_="pointer", text="índice de licitação", index_id="tabela"),
    Document(id_="document", text="licitação inteira", metadata={"year": 2020}),
    Node(
        id_="multimodal",
        text_resource=MediaResource(text="licitação em áudio", mimetype="text/plain"),
        audio_resource=MediaResource(url="https://example.com/a.mp3", mimetype="audio/mpeg"),
    ),
]


async def test_nodes_come_back_as_they_were(empty):
    before = [node.model_copy(deep=True) for node in NODES]
    report = add_nodes(empty, NODES)
    assert (report.added, NODES) == (len(NODES), before)
    assert add_nodes(empty, NODES).unchanged == len(NODES)
    found = await both(HybridRetriever(index=empty, similarity_top_k=10))
    assert {item.node_id for item in found} == {node.node_id for node in NODES}
    for item in found:
        (node,) = [node for node in NODES if node.node_id == item.node_id]
        assert type(item.node) is type(node)
        assert without_marks(item.node) == node
        for mode in (MetadataMode.EMBED, MetadataMode.LLM, MetadataMode.NONE):
            assert item.node.get_content(mode) == node.get_content(mode)
        assert item.score == item.metadata["fused_score"]


async def test_nodes_are_the_callers_own(empty):
    add_nodes(empty, NODES)
    retriever = HybridRetriever(index=empty, similarity_top_k=10)
    for item in retriever.retrieve("licitação"):
        item.node.excluded_llm_metadata_keys.append("mine")
        item.node.relationships[NodeRelationship.PARENT] = RelatedNodeInfo(node_id="mine")
        item.node.metadata["mine"] = 1
    for item in retriever.retrieve("licitação"):
        assert "mine" not in item.node.excluded_llm_metadata_keys
        assert "mine" not in item.metadata
        assert NodeRelationship.PARENT not in item.node.relationships


async def test_metadata_of_nodes_are_filtered_and_what_is_kept_besides_is_not(empty):
    add_nodes(empty, NODES)
    retriever = HybridRetriever(index=empty, similarity_top_k=10)
    assert [n.node_id for n in await both(retriever.with_options(filter={"year": 2020}))] == ["document"]
    assert await both(retriever.with_options(filter={"class_name": "Document"})) == []
    assert empty.delete(["document", "nobody"]) == 1
    assert await both(retriever.with_options(filter={"year": 2020})) == []


def test_progress_and_generators(empty):
    told = []
    add_nodes(empty, NODES, progress=lambda *done: told.append(done))
    assert (told[0], told[-1]) == ((0, len(NODES)), (len(NODES), len(NODES)))
    add_nodes(empty, (node for node in NODES), progress=lambda *done: told.append(done))
    assert told[-1] == (len(NODES), None)


class Own(TextNode):
    pass


@pytest.mark.parametrize(
    ("nodes", "error", "message"),
    [
        ("text", InputTypeError, "nodes is str"),
        (TextNode(text="t"), InputTypeError, "nodes is TextNode"),
        ([TextNode(text="t"), "t"], InputTypeError, "node 1 is str"),
        ([Own(text="t")], InputTypeError, "node 0 is Own, which could not be rebuilt"),
        ([TextNode(text="t", metadata={"x": object()})], InputTypeError, "document 0"),
        ([IndexNode(text="t", index_id="i", obj=["segredo"])], InputError, r"node 0 leads to list.*object_map"),
    ],
)
def test_what_cannot_be_written(empty, nodes, error, message):
    with pytest.raises(error, match=message) as caught:
        add_nodes(empty, nodes)
    assert "segredo" not in str(caught.value)
    assert len(empty) == 0


async def test_index_nodes_lead_to_their_objects(empty):
    target = TextNode(
        id_="target", text="a tabela", relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="s")}
    )
    add_nodes(empty, [IndexNode(id_="p", text="licitação", index_id="t", obj=target)])
    assert [n.node for n in await both(HybridRetriever(index=empty))] == [target]
    add_nodes(empty, [IndexNode(id_="p", text="licitação", index_id="t")])
    assert [n.node for n in await both(HybridRetriever(index=empty, object_map={"t": target}))] == [target]
    assert [n.node_id for n in await both(HybridRetriever(index=empty))] == ["p"]


@pytest.mark.parametrize("kept", [{"class_name": "Nobody"}, {"relationships": {"AUNT": {}}}, {"relationships": 3}, "x"])
def test_what_is_kept_and_cannot_be_read(empty, kept):
    empty.add([IndexDocument("1", {"text": "licitação"}, {"limiar_node": kept})])
    with pytest.raises(StoreDamagedError, match="add the node again"):
        HybridRetriever(index=empty).retrieve("licitação")


# Options


async def test_other_options_in_a_copy(filled):
    retriever = HybridRetriever(index=filled, similarity_top_k=2, filter={"year": 2024})
    assert {n.node_id for n in await both(retriever)} == {"quorum", "ceph"}
    assert len(await both(retriever.with_options(similarity_top_k=1))) == 1
    assert {n.node_id for n in await both(retriever.with_options(filter={"year": 2021}))} == {"dispensa", "recurso"}
    assert len(await both(retriever.with_options(similarity_top_k=10, filter={}))) == 6
    assert {n.node_id for n in await both(retriever)} == {"quorum", "ceph"}
    assert retriever.with_options(filter={}).index is filled
    for unfit in (0, True, 2.0):
        with pytest.raises(ConfigurationError, match="similarity_top_k"):
            retriever.with_options(similarity_top_k=unfit)
    with pytest.raises(InputError):
        retriever.with_options(filter={"$what": 1})
    over_retrievers = HybridRetriever([retriever])
    assert len(await both(over_retrievers.with_options(similarity_top_k=1))) == 1
    with pytest.raises(ConfigurationError, match="filter is an option for an index"):
        over_retrievers.with_options(filter={"year": 2021})
    with pytest.raises(ConfigurationError, match="only a HybridRetriever has options"):
        RerankedRetriever(hybrid_rerank(filled)).with_options(filter={})


def one(key, value, operator):
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=operator)])


EQ, OP = FilterOperator.EQ, FilterOperator


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (one("year", 2021, EQ), {"dispensa", "recurso"}),
        (one("year", 2021, OP.NE), {"pregao", "empenho", "quorum", "ceph"}),
        (one("year", 2021, OP.GT), {"quorum", "ceph"}),
        (one("year", 2021, OP.GTE), {"dispensa", "recurso", "quorum", "ceph"}),
        (one("year", 2020, OP.LT), {"pregao"}),
        (one("year", 2020, OP.LTE), {"pregao", "empenho"}),
        (one("year", [2019, 2020], OP.IN), {"pregao", "empenho"}),
        (one("year", [2019, 2020], OP.NIN), {"dispensa", "recurso", "quorum", "ceph"}),
        (one("tags", ["obras", "prazo"], OP.ANY), {"dispensa", "recurso"}),
        (one("tags", ["lei", "obras"], OP.ALL), {"dispensa"}),
        (one("tags", "lei", OP.CONTAINS), {"dispensa", "pregao", "recurso"}),
        (one("tags", None, OP.IS_EMPTY), {"empenho", "quorum", "ceph"}),
        (one("checked", None, OP.IS_EMPTY), {"dispensa", "pregao", "recurso", "empenho", "ceph"}),
        (one("year", None, OP.IS_EMPTY), set()),
        (MetadataFilters(filters=[]), set(TEXTS)),
    ],
    ids=lambda value: value.filters[0].operator.name if isinstance(value, MetadataFilters) and value.filters else "",
)
async def test_metadata_filters(filled, where, expected):
    retriever = HybridRetriever(index=filled, similarity_top_k=10, filter=where)
    assert {n.node_id for n in await both(retriever)} == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (FilterCondition.AND, {"dispensa"}),
        (None, {"dispensa"}),
        (FilterCondition.OR, {"dispensa", "pregao", "recurso"}),
        (FilterCondition.NOT, {"empenho", "quorum", "ceph"}),
    ],
)
async def test_conditions_and_groups(filled, condition, expected):
    lei = MetadataFilter(key="tags", value="lei", operator=OP.CONTAINS)
    group = MetadataFilters(filters=[MetadataFilter(key="tags", value="obras", operator=OP.CONTAINS)])
    where = MetadataFilters(filters=[lei, group], condition=condition)
    assert {n.node_id for n in await both(HybridRetriever(index=filled, similarity_top_k=10, filter=where))} == expected


@pytest.mark.parametrize(
    "where",
    [
        one("topic", "infra", OP.TEXT_MATCH),
        one("topic", "infra", OP.TEXT_MATCH_INSENSITIVE),
        one("tags", [], OP.ALL),
        MetadataFilters(filters=[MetadataFilters(filters=[])]),
        ["year"],
    ],
)
def test_filters_without_a_counterpart(filled, where):
    with pytest.raises(ConfigurationError):
        HybridRetriever(index=filled, filter=where)


async def test_a_query_bundle(filled):
    bundle = QueryBundle("cluster Proxmox", embedding=[0.5] * 3)
    assert (await both(HybridRetriever(index=filled), bundle))[0].node_id == "quorum"


# LlamaIndex's consumers


async def test_in_a_query_engine(filled):
    retriever = HybridRetriever(index=filled, similarity_top_k=6)
    reranker = LimiarRerank(scorer=KeywordScorer())
    engine = RetrieverQueryEngine(retriever, get_response_synthesizer(llm=MockLLM()), [reranker])
    for response in (engine.query("cluster Proxmox"), await engine.aquery("cluster Proxmox")):
        (source,) = response.source_nodes
        assert source.node_id == "quorum"
        assert source.metadata["relevance_score"] == 1.0
        assert TEXTS["quorum"] in str(response)
        assert "fused_score" not in str(response)


async def test_in_auto_merging(empty):
    text = " ".join(f"Artigo {number}. {sentence}" for number, sentence in enumerate(TEXTS.values(), 1))
    parser = HierarchicalNodeParser.from_defaults(chunk_sizes=[256, 48], chunk_overlap=0)
    nodes = parser.get_nodes_from_documents([Document(id_="lei", text=text, metadata={"source": "lei.pdf"})])
    leaves = get_leaf_nodes(nodes)
    parents = {node.node_id for node in nodes} - {leaf.node_id for leaf in leaves}
    assert len(leaves) > 2
    add_nodes(empty, leaves)
    docstore = SimpleDocumentStore()
    docstore.add_documents(nodes)
    retriever = HybridRetriever(index=empty, similarity_top_k=len(leaves))
    assert {n.node_id: without_marks(n.node) for n in retriever.retrieve("licitação")} == {
        leaf.node_id: leaf for leaf in leaves
    }
    merging = AutoMergingRetriever(retriever, StorageContext.from_defaults(docstore=docstore))
    for merged in (merging.retrieve("licitação"), await merging.aretrieve("licitação")):
        assert {n.node_id for n in merged} <= parents, "all leaves were found, so all give way to their parents"
        assert all(isinstance(n.node, BaseNode) and n.score > 0 for n in merged)


class Choosing(BaseSelector):
    """Selects the second."""

    def _select(self, choices, query):
        return SelectorResult(selections=[SingleSelection(index=1, reason="told")])

    async def _aselect(self, choices, query):
        return self._select(choices, query)

    def _get_prompts(self):
        return {}

    def _update_prompts(self, prompts):
        pass


async def test_in_a_router(filled):
    retriever = HybridRetriever(index=filled)
    years = (retriever.with_options(filter={"year": year}) for year in (2019, 2020))
    tools = [RetrieverTool(year, ToolMetadata("about", "name")) for year in years]
    router = RouterRetriever(Choosing(), tools, llm=MockLLM())
    assert [n.node_id for n in await both(router)] == ["empenho"]


@pytest.mark.parametrize("pipeline", [False, True])
async def test_in_a_tool(filled, pipeline):
    made = hybrid_rerank(filled, LimiarRerank(scorer=KeywordScorer())) if pipeline else HybridRetriever(index=filled)
    tool = RetrieverTool.from_defaults(made, name="search", description="searches")
    for output in (tool.call("cluster Proxmox"), await tool.acall("cluster Proxmox")):
        assert TEXTS["quorum"] in output.content
        assert "fused_score" not in output.content
        assert "limiar_node" not in output.content


async def test_the_event_loop_is_not_blocked(filled):
    threads = []

    class Noting(WordEncoder):
        def embed_query(self, text):
            threads.append(threading.current_thread())
            return super().embed_query(text)

    with HybridIndex.open(filled.folder, read_only=True, encoder=Noting()) as index:
        await HybridRetriever(index=index).aretrieve("licitação")
    assert threads
    assert threading.main_thread() not in threads


async def test_all_five_hundred_are_reranked_and_three_kept(empty):
    add_nodes(empty, [TextNode(id_=f"{n}", text=f"licitação número {n}") for n in range(520)])
    scorer = FakeScorer(
        {"licitação número 7": 0.9, "licitação número 70": 0.8, "licitação número 71": 0.46}, default=0.1
    )
    retriever = hybrid_rerank(empty, LimiarRerank(scorer=scorer))
    nodes = await both(retriever, "licitação número 7 70 71")
    assert [(n.node_id, n.score) for n in nodes] == [("7", 0.9), ("70", 0.8), ("71", 0.46)]
    assert [len(texts) for _, texts in scorer.calls] == [500, 500]
