"""`HybridRetriever` and `hybrid_rerank` in LangChain: identity, callbacks, per-call k, runnables as arms."""

import asyncio

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import create_retriever_tool
from pydantic import ValidationError

from langchain_limiar import HybridRetriever, LimiarRerank, hybrid_rerank
from limiar.errors import ArmError, ConfigurationError
from limiar.testing import FakeScorer, KeywordScorer


class Listed(BaseRetriever):
    documents: list[Document]

    def _get_relevant_documents(self, query, *, run_manager):
        return self.documents


def listed(*documents):
    return Listed(documents=[d if isinstance(d, Document) else Document(d, id=d) for d in documents])


class Runs(BaseCallbackHandler):
    def __init__(self):
        self.started, self.parents, self.tags, self.metadata = {}, {}, {}, {}

    def on_retriever_start(self, serialized, query, *, run_id, parent_run_id=None, name=None, tags=None, metadata=None,
                           **kwargs):  # fmt: skip
        self.started[name], self.parents[name] = run_id, parent_run_id
        self.tags[name], self.metadata[name] = tags, metadata


async def both(retriever, query="q", config=None, **kwargs):
    sync, asynchronous = retriever.invoke(query, config, **kwargs), await retriever.ainvoke(query, config, **kwargs)
    assert sync == asynchronous
    return sync


async def test_k_of_a_call_replaces_the_retrievers():
    retriever = HybridRetriever(retrievers=[listed("a", "b", "c"), listed("d", "e", "f")])
    assert len(await both(retriever)) == 4
    assert len(await both(retriever, k=1)) == 1
    assert len(await both(retriever, k=6)) == 6
    for unfit in (0, -1, True, 2.0, "3"):
        with pytest.raises(ConfigurationError, match="limit"):
            retriever.invoke("q", k=unfit)
        with pytest.raises(ConfigurationError, match="limit"):
            await retriever.ainvoke("q", k=unfit)


async def test_identity_by_id_then_text():
    same_text = HybridRetriever(retrievers=[listed(Document("t", id="1")), listed(Document("t", id="2"))])
    assert [d.id for d in await both(same_text)] == ["1", "2"]
    no_ids = HybridRetriever(retrievers=[listed(Document("t", metadata={"n": 1})), listed(Document("t"))])
    (only,) = await both(no_ids)
    assert only.metadata["retrieval"].keys() == {"arm1", "arm2"}
    assert only.metadata["n"] == 1
    id_like_text = HybridRetriever(retrievers=[listed(Document("1")), listed(Document("t", id="1"))])
    assert len(await both(id_like_text)) == 2


async def test_identity_by_a_metadata_key():
    first = listed(Document("old", id="uuid-1", metadata={"doc": 7}), Document("t", id="x"))
    second = listed(Document("new", id="uuid-2", metadata={"doc": "7"}), Document("u", id="x"))
    documents = await both(HybridRetriever(retrievers=[first, second], id_key="doc"))
    assert [d.page_content for d in documents] == ["old", "t"]


async def test_scores_by_arm():
    first, second = listed(Document("a", metadata={"s": 3.0})), listed(Document("a", metadata={"distance": 0.5}))
    retriever = HybridRetriever(retrievers={"x": first, "y": second}, score_key={"x": "s"})
    (only,) = await both(retriever)
    assert only.metadata["retrieval"] == {"x": {"rank": 1, "score": 3.0}, "y": {"rank": 1, "score": None}}
    with pytest.raises(ValidationError, match="names no arm"):
        HybridRetriever(retrievers={"x": first}, score_key={"z": "s"})
    with pytest.raises(ArmError, match="arm 'x' failed: InputTypeError: a score is str"):
        HybridRetriever(retrievers={"x": listed(Document("a", metadata={"s": "3"}))}, score_key="s").invoke("q")


async def test_documents_are_copies_of_their_class():
    class Passage(Document):
        page: int = 0

    original = Passage("t", id="1", metadata={"nested": {"x": 1}}, page=3)
    (only,) = await both(HybridRetriever(retrievers=[listed(original), listed()]))
    assert (type(only), only.page, only.id) == (Passage, 3, "1")
    assert only is not original
    assert original.metadata == {"nested": {"x": 1}}


async def test_runnables_are_arms():
    attempts = []

    def flaky(query):
        attempts.append(query)
        if len(attempts) % 2:
            raise OSError
        return [Document("b", id="b")]

    arms = [
        listed("a").with_config(run_name="other", tags=["mine"]),
        RunnableLambda(flaky).with_retry(stop_after_attempt=2, wait_exponential_jitter=False),
    ]
    assert [d.id for d in await both(HybridRetriever(retrievers=arms))] == ["a", "b"]


async def test_an_arm_that_returns_no_documents_has_failed():
    with pytest.raises(ArmError, match=r"arm 'arm1' failed: InputTypeError.*returned str"):
        HybridRetriever(retrievers=[RunnableLambda(lambda query: "text")]).invoke("q")
    with pytest.raises(ArmError, match="returned a str; expected a langchain_core Document"):
        await HybridRetriever(retrievers=[RunnableLambda(lambda query: ["text"])]).ainvoke("q")


@pytest.mark.parametrize("is_async", [False, True])
async def test_arms_are_child_runs_named_after_them(is_async):
    runs = Runs()
    retriever = HybridRetriever(retrievers={"bm25": listed("a"), "dense": listed("b").with_config(tags=["mine"])})
    config = {"callbacks": [runs]}
    await retriever.ainvoke("q", config) if is_async else retriever.invoke("q", config)
    assert runs.started.keys() == {"HybridRetriever", "bm25", "dense"}
    assert runs.parents["bm25"] == runs.parents["dense"] == runs.started["HybridRetriever"]
    assert "arm:bm25" in runs.tags["bm25"]
    assert {"arm:dense", "mine"} <= set(runs.tags["dense"])
    assert runs.metadata["HybridRetriever"]["ls_retriever_name"] == "limiar_hybrid"


async def test_the_event_loop_is_never_blocked():
    first, second = asyncio.Event(), asyncio.Event()

    async def a(query):
        first.set()
        await second.wait()
        return [Document("a")]

    async def b(query):
        await first.wait()
        second.set()
        return [Document("b")]

    arms = [RunnableLambda(list, a), RunnableLambda(list, b)]
    assert len(await asyncio.wait_for(HybridRetriever(retrievers=arms).ainvoke("q"), 20)) == 2


async def test_hybrid_of_hybrids_keeps_the_outer_marks():
    inner = HybridRetriever(retrievers=[listed("a"), listed("b")])
    documents = await both(HybridRetriever(retrievers={"inner": inner, "plain": listed("b")}))
    assert [d.id for d in documents] == ["b", "a"]
    assert documents[0].metadata["retrieval"].keys() == {"inner", "plain"}


async def test_fields_may_be_assigned_and_are_checked():
    retriever = HybridRetriever(retrievers={"x": listed("a", "b"), "y": listed("c")})
    retriever.k = 1
    assert len(await both(retriever)) == 1
    for name, value in {"k": 0, "fusion": "sum", "on_error": "ignore"}.items():
        with pytest.raises(ValidationError):
            setattr(retriever, name, value)
    for unfit in ({"unknown": 1}, {"k": 0}, {"rrf_k": 1.5}):
        with pytest.raises(ValidationError):
            HybridRetriever(retrievers=[listed("a")], **unfit)
    for none in ([], {}):
        with pytest.raises(ValidationError, match="no arm"):
            HybridRetriever(retrievers=none)


async def test_in_a_tool_and_in_contextual_compression():
    retriever = HybridRetriever(retrievers=[listed("alpha", "beta"), listed("gamma")])
    assert "alpha" in create_retriever_tool(retriever, "search", "searches").invoke("q")
    compression = ContextualCompressionRetriever(
        base_compressor=LimiarRerank(scorer=KeywordScorer()), base_retriever=retriever
    )
    assert [d.id for d in compression.invoke("gamma", k=3)] == ["gamma"]
    assert [d.id for d in await compression.ainvoke("gamma", k=3)] == ["gamma"]


# The pipeline


async def test_all_five_hundred_are_reranked_and_three_kept():
    texts = [f"text {n}" for n in range(750)]
    scorer = FakeScorer({"text 499": 0.9, "text 0": 0.5, "text 250": 0.46, "text 300": 0.45, "text 1": 0.44})
    arms = {"bm25": listed(*texts[:500]), "dense": listed(*texts[250:])}
    retriever = hybrid_rerank(arms, LimiarRerank(scorer=scorer))
    documents = await both(retriever)
    assert [d.id for d in documents] == ["text 499", "text 0", "text 250"]
    assert [len(scored) for _, scored in scorer.calls] == [500, 500]
    assert documents[0].metadata["retrieval"]["bm25"]["rank"] == 500
    assert documents[0].metadata["relevance_score"] == 0.9
    assert "fused_score" in documents[0].metadata


async def test_the_pipeline_takes_the_hybrids_fields_and_is_an_arm_itself():
    broken = RunnableLambda(lambda query: 1 / 0)
    reranker = LimiarRerank(scorer=KeywordScorer())
    pipeline = hybrid_rerank({"x": listed("q", "z"), "y": broken}, reranker, k=1, on_error="skip")
    (only,) = await both(pipeline)
    assert only.metadata["retrieval_skipped"].keys() == {"y"}
    assert [d.id for d in await both(HybridRetriever(retrievers=[pipeline, listed("w")]))] == ["q", "w"]
    with pytest.raises(ValidationError):
        hybrid_rerank([listed("a")], reranker, treshold=0.5)


def test_the_pipelines_default_reranker_is_the_bundled_one():
    names = [step.name for step in hybrid_rerank([listed("a")]).bound.steps if step.name]
    assert "LimiarRerank" in names
