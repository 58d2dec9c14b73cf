"""One contract for every way in: the core, LangChain and LlamaIndex, sync and async, give the same answers."""

import copy
import json
import math
import re
import threading
from dataclasses import dataclass, field

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from langchain_limiar import LimiarRerank as LangChainRerank
from limiar.errors import NothingRelevantError, ScoringError
from limiar.rerank import Reranker
from limiar.scoring.protocol import Scores
from limiar.scoring.resolve import bundled_scorer
from limiar.testing import FakeScorer, KeywordScorer
from llama_index_limiar import LimiarRerank as LlamaIndexRerank

INCOMING_SCORES = [0.5, None, 12.0]


@dataclass
class Kept:
    """What each way in must be able to tell about a kept passage."""

    id: str
    text: str
    score: float | None
    logit: float | None
    rank: int
    passed: bool
    truncated: bool
    error: str | None


@dataclass
class Options:
    threshold: float = 0.45
    top_k: int = 3
    fallback: str = "top1"
    on_error: str = "raise"

    def as_adapter_fields(self):
        return {
            "score_threshold": self.threshold,
            "top_n": self.top_k,
            "fallback": self.fallback,
            "on_error": self.on_error,
        }


async def through_core(scorer, query, texts, options, *, is_async):
    reranker = Reranker(scorer, **vars(options))
    result = await reranker.arerank(query, texts) if is_async else reranker.rerank(query, texts)
    return [
        Kept(f"id-{d.index}", texts[d.index], d.score, d.logit, d.original_rank, d.passed, d.truncated, result.error)
        for d in result.kept
    ]


async def through_langchain(scorer, query, texts, options, *, is_async):
    documents = [
        Document(text, id=f"id-{index}", metadata={"source": "a.pdf", "nested": {"page": index}})
        for index, text in enumerate(texts)
    ]
    before = copy.deepcopy(documents)
    reranker = LangChainRerank(scorer=scorer, **options.as_adapter_fields())
    try:
        if is_async:
            kept = await reranker.acompress_documents(documents, query)
        else:
            kept = reranker.compress_documents(documents, query)
    finally:
        assert documents == before
    for document in kept:
        json.dumps(document.metadata, allow_nan=False)
        assert document.metadata["source"] == "a.pdf"
        assert document.metadata["nested"] == {"page": int(document.id.removeprefix("id-"))}
    return [kept_from_metadata(document.id, document.page_content, document.metadata) for document in kept]


async def through_llama_index(scorer, query, texts, options, *, is_async):
    nodes = [
        NodeWithScore(
            node=TextNode(id_=f"id-{index}", text=text, metadata={"source": "a.pdf", "nested": {"page": index}}),
            score=INCOMING_SCORES[index % len(INCOMING_SCORES)],
        )
        for index, text in enumerate(texts)
    ]
    before, hashes = copy.deepcopy(nodes), [node.node.hash for node in nodes]
    reranker = LlamaIndexRerank(scorer=scorer, **options.as_adapter_fields())
    try:
        if is_async:
            kept = await reranker.apostprocess_nodes(nodes, query_str=query)
        else:
            kept = reranker.postprocess_nodes(nodes, query_str=query)
    finally:
        assert nodes == before
        assert [node.node.hash for node in nodes] == hashes
    outcome = [kept_from_metadata(node.node_id, node.text, node.metadata) for node in kept]
    for node, told in zip(kept, outcome, strict=True):
        json.dumps(node.metadata, allow_nan=False)
        incoming = INCOMING_SCORES[(told.rank - 1) % len(INCOMING_SCORES)]
        assert node.score == (told.score if told.error is None else incoming)
        assert node.score is None or type(node.score) is float
        assert node.metadata.get("retrieval_score") == incoming
        assert node.metadata["source"] == "a.pdf"
    return outcome


def kept_from_metadata(id_, text, metadata):
    assert ("relevance_score" in metadata) != ("relevance_error" in metadata)
    return Kept(
        id_,
        text,
        metadata.get("relevance_score"),
        metadata.get("relevance_logit"),
        metadata["relevance_rank"],
        metadata["relevance_passed"],
        metadata.get("relevance_truncated", False),
        metadata.get("relevance_error"),
    )


WAYS_IN = {"core": through_core, "langchain": through_langchain, "llama_index": through_llama_index}


BOTH = {"sync": False, "async": True}


@pytest.fixture(params=[f"{way}-{mode}" for way in WAYS_IN for mode in BOTH])
def rerank(request):
    way, mode = request.param.split("-")

    async def call(scorer, query, texts, options=None):
        return await WAYS_IN[way](scorer, query, texts, options or Options(), is_async=BOTH[mode])

    return call


@dataclass
class Case:
    name: str
    texts: list[str]
    scorer: object
    indices: list[int]
    scores: list[float]
    query: str = "quorum in ceph"
    options: Options = field(default_factory=Options)
    passed: bool = True


def logits(**table):
    return FakeScorer(table, scale="logit")


LOW = FakeScorer({"a": 0.1, "b": 0.3, "c": 0.2, "d": 0.0})

CASES = [
    Case("mixed logits", ["a", "b", "c", "d"], logits(a=1.0, b=-3.0, c=0.0, d=4.0), [3, 0, 2],
         [1 / (1 + math.exp(-4.0)), 1 / (1 + math.exp(-1.0)), 0.5]),
    Case("fewer than top_k pass", ["a", "b", "c"], FakeScorer({"a": 0.2, "b": 0.9}), [1], [0.9]),
    Case("the threshold is inclusive", ["a", "b"], FakeScorer({"a": 0.44999, "b": 0.45}), [1], [0.45]),
    Case("ties keep the incoming order", ["a", "b", "c", "d"], FakeScorer({"d": 0.9}, default=0.6), [3, 0, 1],
         [0.9, 0.6, 0.6]),
    Case("saturated logits do not tie", ["a", "b"], logits(a=20.0, b=25.0), [1, 0],
         [1 / (1 + math.exp(-25.0)), 1 / (1 + math.exp(-20.0))]),
    Case("more than top_k pass", list("abcdefgh"), FakeScorer({"h": 0.99, "g": 0.98}, default=0.9),
         [7, 6, 0], [0.99, 0.98, 0.9]),
    Case("top_k 1", ["a", "b"], FakeScorer({"a": 0.7, "b": 0.8}), [1], [0.8], options=Options(top_k=1)),
    Case("threshold 0 keeps all", ["a", "b", "c"], LOW, [1, 2, 0], [0.3, 0.2, 0.1], options=Options(threshold=0.0)),
    Case("nothing passes: top1", ["a", "b", "c", "d"], LOW, [1], [0.3], passed=False),
    Case("nothing passes: empty", ["a", "b", "c", "d"], LOW, [], [], options=Options(fallback="empty"), passed=False),
    Case("nothing passes: original", ["a", "b", "c", "d"], LOW, [0, 1, 2], [0.1, 0.3, 0.2],
         options=Options(fallback="original"), passed=False),
    Case("no documents", [], LOW, [], []),
    Case("no documents, raise", [], LOW, [], [], options=Options(fallback="raise")),
    Case("one document", ["a"], FakeScorer({"a": 0.5}), [0], [0.5]),
    Case("duplicates are separate passages", ["a", "b", "a"], FakeScorer({"a": 0.8}), [0, 2], [0.8, 0.8]),
    Case("blank texts score 0", ["", " \n\t", "a"], FakeScorer({"a": 0.8}, default=1.0), [2], [0.8]),
    Case("only blank texts", ["", " "], FakeScorer(default=1.0), [0], [0.0], passed=False),
    Case("unicode", ["Receita de bolo 🍰", "Licitação: dispensa até o LIMITE", "مرحبا"], KeywordScorer(), [1],
         [1.0], query="licitação limite"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_the_same_passages_and_scores_everywhere(rerank, case):
    kept = await rerank(case.scorer, case.query, case.texts, case.options)
    assert [k.id for k in kept] == [f"id-{index}" for index in case.indices]
    assert [k.rank for k in kept] == [index + 1 for index in case.indices]
    assert [k.text for k in kept] == [case.texts[index] for index in case.indices]
    assert [k.score for k in kept] == pytest.approx(case.scores, abs=1e-15)
    assert all(type(k.score) is float and k.passed is case.passed and k.error is None for k in kept)
    assert kept == await through_core(case.scorer, case.query, case.texts, case.options, is_async=False)


async def test_logits_are_told_where_a_scorer_gives_them(rerank):
    (kept,) = await rerank(logits(a=1.5), "q", ["a"])
    assert kept.logit == 1.5
    (kept,) = await rerank(FakeScorer({"a": 0.8}), "q", ["a"])
    assert kept.logit is None


async def test_nothing_relevant_raises_if_told_to(rerank):
    with pytest.raises(NothingRelevantError, match=r"none of 3 documents reaches threshold=0.45") as caught:
        await rerank(LOW, "q", ["a", "b", "c"], Options(fallback="raise"))
    assert caught.value.best_score == 0.3


async def test_nothing_relevant_is_not_an_error_of_the_scorer(rerank):
    with pytest.raises(NothingRelevantError):
        await rerank(LOW, "q", ["a", "b", "c"], Options(fallback="raise", on_error="original"))


class Short:
    model_id = "tests/short"
    scale = "probability"

    def score(self, query, texts):
        return [0.9] * (len(texts) - 1)


BROKEN = [
    pytest.param(FakeScorer(error=RuntimeError("out of memory")), "RuntimeError: out of memory", id="raises"),
    pytest.param(FakeScorer({"b": math.nan}, default=0.9), "nan for document 1", id="nan"),
    pytest.param(FakeScorer({"b": math.inf}, scale="logit"), "inf for document 1", id="infinity"),
    pytest.param(FakeScorer({"b": 1.2}), r"document 1 got 1\.2", id="no probability"),
    pytest.param(Short(), "3 scores for 4 documents", id="short list"),
]


@pytest.mark.parametrize(("scorer", "reason"), BROKEN)
async def test_a_broken_scorer_raises(rerank, scorer, reason):
    with pytest.raises(ScoringError, match=reason) as caught:
        await rerank(scorer, "q", ["a", "b", "c", "d"])
    assert scorer.model_id in str(caught.value)


@pytest.mark.parametrize(("scorer", "reason"), BROKEN)
async def test_a_broken_scorer_can_leave_the_incoming_order(rerank, scorer, reason, caplog):
    kept = await rerank(scorer, "q", ["a", "b", "c", "d"], Options(on_error="original", fallback="empty"))
    assert [k.id for k in kept] == ["id-0", "id-1", "id-2"]
    assert all(k.score is None and k.logit is None and k.passed is False for k in kept)
    assert kept[0].error is not None
    assert scorer.model_id in kept[0].error
    assert re.search(reason, kept[0].error)
    assert "the incoming order is kept (ScoringError" in caplog.text


async def test_numpy_scores_become_python_floats(rerank):
    numpy = pytest.importorskip("numpy")

    class Float32:
        model_id = "tests/float32"
        scale = "logit"

        def score(self, query, texts):
            return numpy.array([3.0] * len(texts), dtype=numpy.float32)

    (kept,) = await rerank(Float32(), "q", ["a"])
    assert (type(kept.score), type(kept.logit)) == (float, float)
    assert kept.score == pytest.approx(1 / (1 + math.exp(-3.0)), abs=1e-15)


async def test_scoring_never_blocks_an_event_loop(rerank, request):
    threads = set()

    class Noting(KeywordScorer):
        def score(self, query, texts):
            threads.add(threading.current_thread().name)
            return super().score(query, texts)

    await rerank(Noting(), "q", ["q"])
    (thread,) = threads
    is_async = BOTH[request.node.callspec.params["rerank"].split("-")[1]]
    assert thread.startswith("limiar") == is_async


async def test_lost_text_is_told(rerank):
    class Truncating:
        model_id = "tests/truncating"
        scale = "probability"

        def score(self, query, texts):
            return Scores([0.9] * len(texts), truncated={0})

    assert [k.truncated for k in await rerank(Truncating(), "q", ["", "a", "b"])] == [True, False]


PASSAGES = [
    "Receita de bolo de cenoura com cobertura de chocolate.",
    "A dispensa de licitação por valor é tratada no art. 75 da Lei nº 14.133/2021.",
    "O quórum do cluster Proxmox exige a maioria dos votos; sem ele, o cluster fica somente leitura.",
    "Ceph monitors need a majority to form a quorum; without it, clients lose access to the storage.",
    "",
    "O campeonato começa no domingo 🏆.",
]


@pytest.fixture(scope="module")
def bundled():
    return bundled_scorer()


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("Quando posso dispensar a licitação por valor?", "id-1"),
        ("o cluster Proxmox sem quórum fica somente leitura?", "id-2"),
        ("What happens when the Ceph monitors lose quorum?", "id-3"),
    ],
)
async def test_the_bundled_scorer_gives_the_same_everywhere(rerank, bundled, query, best):
    kept = await rerank(bundled, query, PASSAGES)
    assert kept[0].id == best
    assert kept[0].passed
    assert "id-0" not in [k.id for k in kept]
    expected = await through_core(bundled, query, PASSAGES, Options(), is_async=False)
    assert [(k.id, k.passed) for k in kept] == [(k.id, k.passed) for k in expected]
    assert [k.score for k in kept] == pytest.approx([k.score for k in expected], abs=1e-6)


async def test_the_bundled_scorer_finds_nothing_off_topic(rerank, bundled):
    (kept,) = await rerank(bundled, "capital da Mongólia em 1950", [PASSAGES[0], PASSAGES[5]])
    assert not kept.passed
    assert 0.0 <= kept.score < 0.45
