"""`HybridRetriever` and `hybrid_rerank` in LlamaIndex: identity, hidden marks, async, LlamaIndex's own consumers."""

import asyncio
import threading

import pytest
from llama_index.core import MockEmbedding, Settings, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.retrievers import AutoMergingRetriever, RouterRetriever
from llama_index.core.schema import (
    IndexNode,
    MetadataMode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.storage import StorageContext
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.tools import RetrieverTool, ToolMetadata

from limiar.errors import ArmError, ConfigurationError, InputTypeError
from limiar.testing import FakeScorer, KeywordScorer
from llama_index_limiar import HybridRetriever, LimiarRerank, RerankedRetriever, hybrid_rerank


class Listed(BaseRetriever):
    """Has no async path of its own, like LlamaIndex's BM25Retriever."""

    def __init__(self, nodes):
        self.nodes, self.threads = nodes, []
        super().__init__()

    def _retrieve(self, query_bundle):
        self.threads.append(threading.current_thread().name)
        return self.nodes


class Unchecked(Listed):
    """Overrides the public method, past LlamaIndex's own checks."""

    def __init__(self):
        super().__init__([])

    def retrieve(self, str_or_query_bundle):
        return [TextNode(text="t")]


def listed(*texts, score=None):
    return Listed([NodeWithScore(node=TextNode(id_=text, text=text), score=score) for text in texts])


async def both(retriever, query="q"):
    sync, asynchronous = retriever.retrieve(query), await retriever.aretrieve(query)
    assert sync == asynchronous
    return sync


@pytest.fixture(autouse=True)
def no_llm_is_resolved(monkeypatch):
    def refuse(*args, **kwargs):
        pytest.fail("an LLM was resolved")

    monkeypatch.setattr("llama_index.core.settings.resolve_llm", refuse)
    monkeypatch.setattr(Settings, "_llm", None)


async def test_nodes_are_the_same_by_id_not_by_text():
    first = Listed([NodeWithScore(node=TextNode(id_="1", text="t")), NodeWithScore(node=TextNode(id_="2", text="t"))])
    second = Listed([NodeWithScore(node=TextNode(id_="2", text="other"), score=3.0)])
    nodes = await both(HybridRetriever([first, second], similarity_top_k=5))
    assert [(n.node_id, n.text) for n in nodes] == [("2", "other"), ("1", "t")]


async def test_marks_reach_no_embedding_and_no_llm():
    node = TextNode(id_="1", text="t", metadata={"source": "a.pdf"}, excluded_llm_metadata_keys=["source"])
    before = node.model_copy(deep=True)
    (only,) = await both(HybridRetriever([Listed([NodeWithScore(node=node)]), listed()]))
    for mode in (MetadataMode.EMBED, MetadataMode.LLM):
        assert only.node.get_content(metadata_mode=mode) == before.get_content(metadata_mode=mode)
    assert only.metadata["retrieval"] == {"arm1": {"rank": 1, "score": None}}
    assert node == before
    assert node.hash == before.hash


async def test_a_second_fusion_replaces_the_marks():
    inner = HybridRetriever([listed("a"), listed("b")])
    nodes = await both(HybridRetriever({"inner": inner, "plain": listed("b")}))
    assert [n.node_id for n in nodes] == ["b", "a"]
    assert nodes[0].metadata["retrieval"].keys() == {"inner", "plain"}
    excluded = nodes[0].node.excluded_llm_metadata_keys
    assert len(excluded) == len(set(excluded))


async def test_the_default_number_and_unfit_arguments():
    assert len(await both(HybridRetriever([listed("a", "b"), listed("c")]))) == 2
    for unfit in (0, True, 2.0):
        with pytest.raises(ConfigurationError):
            HybridRetriever([listed("a")], similarity_top_k=unfit)
    with pytest.raises(ConfigurationError, match="no arm"):
        HybridRetriever([])
    with pytest.raises(InputTypeError, match="arm 'arm1' is str"):
        HybridRetriever(["bm25"])
    with pytest.raises(ArmError, match="arm 'arm1' failed: AttributeError"):
        HybridRetriever([Listed([TextNode(text="t")]), listed()]).retrieve("q")
    with pytest.raises(ArmError, match="InputTypeError: arm 'arm1' returned a TextNode; expected a NodeWithScore"):
        HybridRetriever([Unchecked(), listed()]).retrieve("q")


async def test_an_arm_without_an_async_path_does_not_block_the_loop():
    blocking = listed("a")
    await HybridRetriever([blocking, listed("b")]).aretrieve("q")
    assert blocking.threads == ["limiar-arm"]


async def test_an_arm_with_an_async_path_is_awaited_on_the_loop():
    first, second = asyncio.Event(), asyncio.Event()

    class Waiting(Listed):
        def __init__(self, mine, other):
            super().__init__([])
            self.mine, self.other = mine, other

        async def _aretrieve(self, query_bundle):
            self.mine.set()
            await self.other.wait()
            return []

    hybrid = HybridRetriever([Waiting(first, second), Waiting(second, first)])
    assert await asyncio.wait_for(hybrid.aretrieve("q"), 20) == []


async def test_the_whole_query_bundle_reaches_the_arms():
    seen = []

    class Noting(Listed):
        def _retrieve(self, query_bundle):
            seen.append(query_bundle)
            return []

    bundle = QueryBundle("q", custom_embedding_strs=["expanded"], embedding=[0.5])
    hybrid = HybridRetriever([Noting([]), Noting([])])
    await hybrid.aretrieve(bundle)
    hybrid.retrieve(bundle)
    assert seen == [bundle] * 4


async def test_index_nodes_lead_to_their_objects():
    pointer = NodeWithScore(node=IndexNode(id_="p", text="summary", index_id="table"))
    hybrid = HybridRetriever(
        [Listed([pointer]), listed()], object_map={"table": TextNode(id_="target", text="the table")}
    )
    assert [n.node_id for n in await both(hybrid)] == ["target"]


# LlamaIndex's consumers


async def test_with_a_vector_index_in_a_query_engine():
    nodes = [TextNode(id_=text, text=text) for text in ("alpha quorum", "beta", "gamma")]
    index = VectorStoreIndex(nodes, embed_model=MockEmbedding(embed_dim=4))
    hybrid = HybridRetriever(
        {"dense": index.as_retriever(similarity_top_k=3), "bm25": listed("alpha quorum", score=2.0)},
        similarity_top_k=3,
    )
    engine = RetrieverQueryEngine(
        hybrid, get_response_synthesizer(llm=MockLLM()), [LimiarRerank(scorer=KeywordScorer())]
    )
    for response in (engine.query("quorum"), await engine.aquery("quorum")):
        (source,) = response.source_nodes
        assert source.node_id == "alpha quorum"
        assert source.metadata["relevance_score"] == 1.0
        assert source.metadata["retrieval"]["bm25"] == {"rank": 1, "score": 2.0}
        assert "retrieval" not in str(response)
        assert "fused_score" not in str(response)


async def test_in_auto_merging():
    parent = TextNode(id_="parent", text="first half. second half.")
    halves = [TextNode(id_=text, text=text) for text in ("first half.", "second half.")]
    parent.relationships[NodeRelationship.CHILD] = [RelatedNodeInfo(node_id=half.node_id) for half in halves]
    for half in halves:
        half.relationships[NodeRelationship.PARENT] = RelatedNodeInfo(node_id="parent")
    docstore = SimpleDocumentStore()
    docstore.add_documents([parent, *halves])
    arms = [Listed([NodeWithScore(node=half)]) for half in halves]
    merging = AutoMergingRetriever(HybridRetriever(arms), StorageContext.from_defaults(docstore=docstore))
    for nodes in (merging.retrieve("q"), await merging.aretrieve("q")):
        assert [(n.node_id, n.score) for n in nodes] == [("parent", pytest.approx(1 / 61))]


class Choosing(BaseSelector):
    """Selects what it is told."""

    def __init__(self, index):
        self.index = index

    def _select(self, choices, query):
        return SelectorResult(selections=[SingleSelection(index=self.index, reason="told")])

    async def _aselect(self, choices, query):
        return self._select(choices, query)

    def _get_prompts(self):
        return {}

    def _update_prompts(self, prompts):
        pass


async def test_in_a_router():
    hybrid = HybridRetriever([listed("a"), listed("b")])
    tools = [RetrieverTool(r, ToolMetadata("about", "name")) for r in (listed("z"), hybrid)]
    router = RouterRetriever(Choosing(1), tools, llm=MockLLM())
    assert [n.node_id for n in await both(router)] == ["a", "b"]


@pytest.mark.parametrize("pipeline", [False, True])
async def test_in_a_tool(pipeline):
    arms = [listed("alpha"), listed("beta")]
    retriever = hybrid_rerank(arms, LimiarRerank(scorer=KeywordScorer())) if pipeline else HybridRetriever(arms)
    tool = RetrieverTool.from_defaults(retriever, name="search", description="searches")
    for output in (tool.call("alpha"), await tool.acall("alpha")):
        assert "alpha" in output.content
        assert "fused_score" not in output.content
        assert ("beta" in output.content) is not pipeline


# The pipeline


async def test_all_five_hundred_are_reranked_and_three_kept():
    texts = [f"text {n}" for n in range(750)]
    scorer = FakeScorer({"text 499": 0.9, "text 0": 0.5, "text 250": 0.46, "text 300": 0.45, "text 1": 0.44})
    retriever = hybrid_rerank(
        {"bm25": listed(*texts[:500]), "dense": listed(*texts[250:])}, LimiarRerank(scorer=scorer)
    )
    nodes = await both(retriever)
    assert [(n.node_id, n.score) for n in nodes] == [("text 499", 0.9), ("text 0", 0.5), ("text 250", 0.46)]
    assert [len(scored) for _, scored in scorer.calls] == [500, 500]
    assert nodes[0].metadata["retrieval"]["bm25"]["rank"] == 500
    assert nodes[0].metadata["retrieval_score"] == nodes[0].metadata["fused_score"]
    engine = RetrieverQueryEngine(retriever, get_response_synthesizer(llm=MockLLM()))
    assert len(engine.query("q").source_nodes) == len((await engine.aquery("q")).source_nodes) == 3


async def test_the_pipeline_takes_the_hybrids_arguments():
    class Broken(Listed):
        def _retrieve(self, query_bundle):
            raise OSError

    reranker = LimiarRerank(scorer=KeywordScorer())
    pipeline = hybrid_rerank({"x": listed("q", "z"), "y": Broken([])}, reranker, similarity_top_k=1, on_error="skip")
    (only,) = await both(pipeline)
    assert only.metadata["retrieval_skipped"] == {"y": "OSError"}
    with pytest.raises(TypeError, match="treshold"):
        hybrid_rerank([listed("a")], reranker, treshold=0.5)
    assert isinstance(pipeline, RerankedRetriever)
    assert hybrid_rerank([listed("a")]).reranker.score_threshold == 0.45
