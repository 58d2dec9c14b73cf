"""One contract for hybrid retrieval: the core, LangChain and LlamaIndex, sync and async, fuse the same arms alike."""

import asyncio
import copy
import json
import logging
import threading

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever as LangChainBase
from llama_index.core.base.base_retriever import BaseRetriever as LlamaIndexBase
from llama_index.core.schema import NodeWithScore, TextNode
from pydantic import Field, ValidationError

from langchain_limiar import HybridRetriever as LangChainHybrid
from limiar.errors import ArmError, ConfigurationError, InputError
from limiar.retrieval.ensemble import Candidate, Ensemble
from limiar.retrieval.provenance import fusion_marks
from llama_index_limiar import HybridRetriever as LlamaIndexHybrid

QUERY = "dispensa de licitação"
TIES = [("a", 2.0), ("b", 1.0)], [("b", 2.0), ("a", 1.0)]


class Arms:
    """Hits by arm name. A value that is an exception is raised, one that is an event is waited for."""

    def __init__(self, **hits):
        self.hits = hits

    def answer(self, name):
        hits = self.hits[name]
        if isinstance(hits, Exception):
            raise hits
        if isinstance(hits, threading.Event):
            hits.wait(60)
            return []
        return hits

    async def aanswer(self, name):
        if isinstance(self.hits[name], threading.Event):
            await asyncio.Event().wait()
        return self.answer(name)


async def through_core(arms, k, options, *, is_async):
    def found(hits):
        return [Candidate(id_, score, id_) for id_, score in hits]

    def asking(name):
        return lambda: found(arms.answer(name))

    def aasking(name):
        async def ask():
            return found(await arms.aanswer(name))

        return ask

    ensemble = Ensemble(list(arms.hits), **options)
    if is_async:
        result = await ensemble.arun({name: aasking(name) for name in arms.hits}, limit=k)
    else:
        result = ensemble.run({name: asking(name) for name in arms.hits}, limit=k)
    return [(fused.item, fusion_marks(fused.hit, result.skipped)) for fused in result.items]


class LangChainArm(LangChainBase):
    arms: Arms
    arm: str
    given: list = Field(default_factory=list)

    def _documents(self, hits):
        self.given[:] = [
            Document(f"text of {id_}", id=id_, metadata={"source": self.arm} | ({} if s is None else {"score": s}))
            for id_, s in hits
        ]
        return self.given

    def _get_relevant_documents(self, query, *, run_manager):
        assert query == QUERY
        return self._documents(self.arms.answer(self.arm))

    async def _aget_relevant_documents(self, query, *, run_manager):
        return self._documents(await self.arms.aanswer(self.arm))


async def through_langchain(arms, k, options, *, is_async):
    children = {name: LangChainArm(arms=arms, arm=name) for name in arms.hits}
    retriever = LangChainHybrid(retrievers=children, k=k, score_key="score", **options)
    documents = await retriever.ainvoke(QUERY) if is_async else retriever.invoke(QUERY)
    for child in children.values():
        assert all(set(document.metadata) <= {"source", "score"} for document in child.given)
    return [(document.id, told(document.metadata)) for document in documents]


class LlamaIndexArm(LlamaIndexBase):
    def __init__(self, arms, arm):
        self.arms, self.arm, self.given, self.before = arms, arm, [], []
        super().__init__()

    def _nodes(self, hits):
        self.given = [
            NodeWithScore(node=TextNode(id_=id_, text=f"text of {id_}", metadata={"source": self.arm}), score=score)
            for id_, score in hits
        ]
        self.before = copy.deepcopy(self.given)
        return self.given

    def _retrieve(self, query_bundle):
        assert query_bundle.query_str == QUERY
        return self._nodes(self.arms.answer(self.arm))

    async def _aretrieve(self, query_bundle):
        return self._nodes(await self.arms.aanswer(self.arm))


async def through_llama_index(arms, k, options, *, is_async):
    children = {name: LlamaIndexArm(arms, name) for name in arms.hits}
    retriever = LlamaIndexHybrid(children, similarity_top_k=k, **options)
    nodes = await retriever.aretrieve(QUERY) if is_async else retriever.retrieve(QUERY)
    assert all(child.given == child.before for child in children.values())
    assert [node.score for node in nodes] == [node.metadata["fused_score"] for node in nodes]
    assert all(type(node.score) is float for node in nodes)
    return [(node.node_id, told(node.metadata)) for node in nodes]


def told(metadata):
    json.dumps(metadata, allow_nan=False)
    return {key: metadata[key] for key in ("fused_score", "retrieval", "retrieval_skipped") if key in metadata}


WAYS = {"core": through_core, "langchain": through_langchain, "llama_index": through_llama_index}


@pytest.fixture(params=[f"{way}-{mode}" for way in WAYS for mode in ("sync", "async")])
def ask(request):
    way, mode = request.param.split("-")

    async def ask(arms, k=10, **options):
        return await WAYS[way](arms, k, options, is_async=mode == "async")

    return ask


BM25 = [("a", 9.0), ("b", 6.0), ("c", 3.0)]
DENSE = [("c", 0.9), ("a", 0.8), ("d", 0.4)]


def ids(result):
    return [id_ for id_, _ in result]


def scores(result):
    return {id_: marks["fused_score"] for id_, marks in result}


async def test_reciprocal_rank_and_where_each_came_from(ask):
    result = await ask(Arms(bm25=BM25, dense=DENSE))
    assert ids(result) == ["a", "c", "b", "d"]
    assert scores(result) == pytest.approx({"a": 1 / 61 + 1 / 62, "c": 1 / 63 + 1 / 61, "b": 1 / 62, "d": 1 / 63})
    assert result[0][1]["retrieval"] == {"bm25": {"rank": 1, "score": 9.0}, "dense": {"rank": 2, "score": 0.8}}
    assert result[2][1]["retrieval"] == {"bm25": {"rank": 2, "score": 6.0}}
    assert all("retrieval_skipped" not in marks for _, marks in result)


@pytest.mark.parametrize("weights", [{"dense": 3.0}, [1.0, 3.0]])
async def test_weights_and_rrf_k(ask, weights):
    result = await ask(Arms(bm25=BM25, dense=DENSE), weights=weights, rrf_k=1)
    assert ids(result) == ["c", "a", "d", "b"]
    assert scores(result) == pytest.approx({"a": 1 / 2 + 3 / 3, "c": 1 / 4 + 3 / 2, "b": 1 / 3, "d": 3 / 4})


async def test_relative_scores(ask):
    result = await ask(Arms(bm25=BM25, dense=DENSE), fusion="relative", weights={"bm25": 1.0, "dense": 3.0})
    assert scores(result) == pytest.approx({"a": (1 + 3 * 0.8) / 4, "b": 0.5 / 4, "c": 3 / 4, "d": 0.0})


@pytest.mark.parametrize("fusion", ["rrf", "relative", "distribution"])
async def test_every_way_gives_what_the_core_gives(ask, fusion):
    arms = Arms(bm25=BM25, dense=DENSE, other=[("d", 3.0), ("e", -1.0)])
    assert await ask(arms, fusion=fusion) == await through_core(arms, 10, {"fusion": fusion}, is_async=False)


async def test_zero_weight_arms_add_nothing(ask):
    result = await ask(Arms(bm25=BM25, dense=DENSE), weights={"bm25": 0.0})
    assert ids(result) == ["c", "a", "d"]
    assert result[1][1]["retrieval"]["bm25"]["rank"] == 1


async def test_ties_go_to_the_first_arm(ask):
    assert ids(await ask(Arms(first=TIES[0], second=TIES[1]))) == ["a", "b"]
    assert ids(await ask(Arms(first=TIES[1], second=TIES[0]))) == ["b", "a"]


async def test_an_id_that_comes_twice_in_one_arm_counts_once(ask):
    result = await ask(Arms(bm25=[("a", 3.0), ("a", 2.0), ("b", 1.0)], dense=[]))
    assert scores(result) == pytest.approx({"a": 1 / 61, "b": 1 / 62})


async def test_zero_scores_of_a_lexical_arm_are_no_hits(ask):
    arms = Arms(bm25=[("a", 2.0), ("b", 0.0)], dense=[("c", 0.0)])
    assert ids(await ask(arms, drop_zero=["bm25"])) == ["a", "c"]
    assert ids(await ask(arms)) == ["a", "c", "b"]


async def test_an_arm_without_scores(ask):
    arms = Arms(bm25=BM25, dense=[("c", None), ("a", None)])
    result = await ask(arms)
    assert ids(result) == ["a", "c", "b"]
    assert result[0][1]["retrieval"]["dense"] == {"rank": 2, "score": None}
    with pytest.raises(InputError, match="arm 'dense' has hits without a score"):
        await ask(arms, fusion="relative")


@pytest.mark.parametrize("fusion", ["rrf", "relative", "distribution"])
async def test_empty_arms(ask, fusion):
    assert ids(await ask(Arms(bm25=BM25, dense=[]), fusion=fusion)) == ["a", "b", "c"]
    assert await ask(Arms(bm25=[], dense=[]), fusion=fusion) == []


async def test_a_failing_arm_raises(ask):
    with pytest.raises(ArmError, match="arm 'dense' failed: OSError: gone") as caught:
        await ask(Arms(bm25=BM25, dense=OSError("gone")))
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(ArmError, match="every arm failed"):
        await ask(Arms(bm25=OSError("gone"), dense=OSError("gone")), on_error="skip")


async def test_a_failing_arm_is_skipped_if_allowed(ask, caplog):
    with caplog.at_level(logging.WARNING, logger="limiar"):
        result = await ask(Arms(bm25=BM25, dense=OSError("gone")), on_error="skip")
    assert ids(result) == ["a", "b", "c"]
    assert all(marks["retrieval_skipped"] == {"dense": "OSError: gone"} for _, marks in result)
    assert "arm dense skipped: OSError" in caplog.text
    assert "gone" not in "".join(r.getMessage() for r in caplog.records if r.name == "limiar")


async def test_a_score_that_is_not_finite_is_the_arms_failure():
    for way in (through_langchain, through_llama_index):
        arms = Arms(bm25=BM25, dense=[("a", float("nan"))])
        result = await way(arms, 10, {"on_error": "skip"}, is_async=False)
        assert result[0][1]["retrieval_skipped"] == {
            "dense": "InputError: a score is nan; expected a finite number or None"
        }


async def test_a_slow_arm(ask):
    never = threading.Event()
    try:
        result = await ask(Arms(bm25=BM25, dense=never), timeout=0.2, on_error="skip")
        assert ids(result) == ["a", "b", "c"]
        assert result[0][1]["retrieval_skipped"] == {"dense": "TimeoutError: no answer within 0.2 s"}
        with pytest.raises(ArmError, match="arm 'dense' is late"):
            await ask(Arms(bm25=BM25, dense=never), timeout=0.2)
    finally:
        never.set()


async def test_five_hundred_of_each(ask):
    first = [(f"x{n}", 1000.0 - n) for n in range(500)]
    second = [(f"x{n + 250}", 1.0 - n / 500) for n in range(500)]
    result = await ask(Arms(bm25=first, dense=second), k=1000)
    assert len(result) == len(set(ids(result))) == 750
    assert list(scores(result).values()) == sorted(scores(result).values(), reverse=True)
    assert result == await through_core(Arms(bm25=first, dense=second), 1000, {}, is_async=False)
    assert ids(await ask(Arms(bm25=first, dense=second), k=500)) == ids(result)[:500]


@pytest.mark.parametrize(
    "options",
    [{"weights": {"nobody": 1.0}}, {"weights": [1.0]}, {"weights": [0.0, 0.0]}, {"weights": [-1.0, 1.0]},
     {"timeout": 0.0}, {"drop_zero": ["nobody"]}],
)  # fmt: skip
async def test_unfit_options(ask, options):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # pydantic's own in LangChain
        await ask(Arms(bm25=BM25, dense=DENSE), **options)
    assert isinstance(caught.value, ConfigurationError | ValidationError)
