"""`LimiarRerank` in LlamaIndex: what it adds to nodes, its events, and its use in query and chat engines."""

import copy
import json
import pickle

import numpy as np
import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import (
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from pydantic import Field, ValidationError

import llama_index_limiar
from limiar.errors import InputError, NothingRelevantError, ScoringError
from limiar.testing import FakeScorer, KeywordScorer
from llama_index_limiar import LimiarRerank

QUERY = "ceph quorum"
TEXTS = ["Cake", "Proxmox quorum", "Ceph quorum"]
CE = "cross-encoder/ms-marco-MiniLM-L-6-v2"


def nodes():
    return [
        NodeWithScore(node=TextNode(id_=f"id-{i}", text=text, metadata={"source": "a.pdf"}), score=0.5 - i / 10)
        for i, text in enumerate(TEXTS)
    ]


def keyword_rerank(**fields):
    return LimiarRerank(scorer=KeywordScorer(), **fields)


async def run(reranker, candidates, query=QUERY, *, is_async):
    if is_async:
        return await reranker.apostprocess_nodes(candidates, query_str=query)
    return reranker.postprocess_nodes(candidates, query_str=query)


class Recorder(BaseEventHandler):
    seen: list = Field(default_factory=list)

    @classmethod
    def class_name(cls):
        return "Recorder"

    def handle(self, event, **kwargs):
        if isinstance(event, ReRankStartEvent | ReRankEndEvent):
            self.seen.append(event)


@pytest.fixture
def events():
    root, recorder = get_dispatcher(), Recorder()
    root.add_event_handler(recorder)
    yield recorder.seen
    root.event_handlers.remove(recorder)


@pytest.fixture
def spans():
    root, handler = get_dispatcher(), SimpleSpanHandler()
    root.add_span_handler(handler)
    yield handler
    root.span_handlers.remove(handler)


both_ways = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


def test_exported_members():
    assert "LimiarRerank" in llama_index_limiar.__all__
    assert all(hasattr(llama_index_limiar, name) for name in llama_index_limiar.__all__)


def test_class():
    names_of_base_classes = [b.__name__ for b in LimiarRerank.__mro__]
    assert BaseNodePostprocessor.__name__ in names_of_base_classes
    assert LimiarRerank.class_name() == "LimiarRerank"


def test_what_a_node_gains():
    scorer = FakeScorer({"Ceph quorum": 2.0, "Cake": -1.0}, scale="logit")
    best, second = LimiarRerank(scorer=scorer).postprocess_nodes(nodes(), query_str=QUERY)
    assert best.score == pytest.approx(0.8807970779778823)
    assert best.metadata == {
        "source": "a.pdf",
        "relevance_score": best.score,
        "relevance_logit": 2.0,
        "relevance_rank": 3,
        "relevance_passed": True,
        "retrieval_score": 0.3,
    }
    assert second.score == 0.5
    json.dumps(best.to_dict())


@pytest.mark.parametrize("mode", [MetadataMode.EMBED, MetadataMode.LLM])
def test_nothing_leaks_into_embedding_or_llm_text(mode):
    candidates = nodes()
    candidates[2].node.excluded_embed_metadata_keys = ["source"]
    kept = keyword_rerank(score_threshold=0.0).postprocess_nodes(candidates, query_str=QUERY)
    for node in kept:
        original = next(c for c in candidates if c.node_id == node.node_id)
        assert node.get_content(mode) == original.get_content(mode)
    assert "source" in kept[0].node.excluded_embed_metadata_keys
    assert "source" not in kept[0].node.excluded_llm_metadata_keys
    assert candidates[2].node.excluded_embed_metadata_keys == ["source"]
    assert candidates[2].node.excluded_llm_metadata_keys == []


def test_a_failure_is_visible_and_keeps_the_incoming_score(caplog):
    reranker = LimiarRerank(scorer=FakeScorer(error=OSError("gone")), on_error="original", top_n=2)
    again = reranker.postprocess_nodes(keyword_rerank(score_threshold=0).postprocess_nodes(nodes(), query_str="ceph?"),
                                       query_str=QUERY)  # fmt: skip
    assert [(node.node_id, node.score) for node in again] == [("id-2", 1.0), ("id-0", 0.0)]
    assert set(again[0].metadata) == {
        "source",
        "relevance_error",
        "relevance_rank",
        "relevance_passed",
        "retrieval_score",
    }
    assert "OSError: gone" in again[0].metadata["relevance_error"]
    assert "relevance_error" not in again[0].get_content(MetadataMode.LLM)
    assert "ScoringError from OSError" in caplog.text
    assert not any(text in caplog.text for text in TEXTS)


@both_ways
async def test_kinds_of_nodes_are_kept(is_async):
    related = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc")}
    kinds = [
        TextNode(id_="text", text="Ceph quorum", relationships=related, start_char_idx=3),
        ImageNode(id_="image", text="Ceph quorum", image_path="/tmp/a.png"),
        IndexNode(id_="index", text="Ceph quorum", index_id="other", obj=object()),
        Node(id_="node", text_resource=MediaResource(text="Ceph quorum")),
        Node(id_="picture", image_resource=MediaResource(url="https://example.com/a.png")),
    ]
    before = [(node.model_copy(), copy.deepcopy(node.metadata), node.hash) for node in kinds]
    kept = await run(
        keyword_rerank(top_n=5, score_threshold=0.0), [NodeWithScore(node=node) for node in kinds], is_async=is_async
    )
    assert [node.node_id for node in kept] == ["text", "image", "index", "node", "picture"]
    assert [type(node.node) for node in kept] == [TextNode, ImageNode, IndexNode, Node, Node]
    assert [node.score for node in kept] == [1.0, 1.0, 1.0, 1.0, 0.0]
    assert kept[0].node.relationships == related
    assert kept[0].node.start_char_idx == 3
    assert kept[1].node.image_path == "/tmp/a.png"
    assert kept[2].node.obj is kinds[2].obj
    for node, (copied, metadata, hash_) in zip(kinds, before, strict=True):
        assert (node, node.metadata, node.hash) == (copied, metadata, hash_)


@pytest.mark.parametrize("mode", list(MetadataMode))
def test_reranking_twice_gives_the_same_scores(mode):
    scorer = FakeScorer(default=0.8)
    reranker = LimiarRerank(scorer=scorer, metadata_mode=mode)
    once = reranker.postprocess_nodes(nodes(), query_str=QUERY)
    twice = reranker.postprocess_nodes(once, query_str=QUERY)
    assert [(node.node_id, node.score) for node in twice] == [(node.node_id, node.score) for node in once]
    (_, texts), (_, texts_again) = scorer.calls
    assert texts_again == texts
    assert ("source: a.pdf" in texts[0]) == (mode is not MetadataMode.NONE)
    assert len(set(twice[0].node.excluded_llm_metadata_keys)) == len(twice[0].node.excluded_llm_metadata_keys)
    assert twice[0].metadata["retrieval_score"] == once[0].score


def test_numpy_scores_of_a_retriever_become_python_floats():
    candidates = nodes()
    candidates[2].score = np.float32(0.25)
    (kept, _) = keyword_rerank().postprocess_nodes(candidates, query_str=QUERY)
    assert type(kept.metadata["retrieval_score"]) is float
    kept.to_json()


def test_a_node_without_a_score_gains_none():
    (kept,) = keyword_rerank().postprocess_nodes([NodeWithScore(node=TextNode(text="ceph quorum"))], query_str=QUERY)
    assert "retrieval_score" not in kept.metadata
    metadata = {"retrieval_score": "mine"}
    mine = NodeWithScore(node=TextNode(text="ceph quorum", metadata=metadata))
    (kept,) = keyword_rerank().postprocess_nodes([mine], query_str=QUERY)
    assert kept.metadata["retrieval_score"] == "mine"
    assert "mine" in kept.get_content(MetadataMode.LLM)


def test_round_trip():
    reranker = LimiarRerank(model=CE, device="cpu", top_n=5, fallback="empty", metadata_mode=MetadataMode.EMBED)
    data = reranker.to_dict()
    assert data == {
        "model": CE,
        "device": "cpu",
        "top_n": 5,
        "score_threshold": 0.45,
        "fallback": "empty",
        "on_error": "raise",
        "metadata_mode": "embed",
        "class_name": "LimiarRerank",
    }
    assert LimiarRerank.from_dict(data).to_dict() == data
    assert LimiarRerank.from_json(reranker.to_json()).to_dict() == data
    custom = LimiarRerank.from_dict(keyword_rerank(top_n=1).to_dict(), scorer=KeywordScorer())
    assert [n.node_id for n in custom.postprocess_nodes(nodes(), query_str=QUERY)] == ["id-2"]
    pickled = pickle.loads(pickle.dumps(keyword_rerank(top_n=1)))
    assert [n.node_id for n in pickled.postprocess_nodes(nodes(), query_str=QUERY)] == ["id-2"]


def test_the_default_is_the_bundled_scorer():
    from limiar.scoring.resolve import bundled_scorer

    reranker = LimiarRerank()
    (best, *_) = reranker.postprocess_nodes(nodes(), query_str="o que é o quórum do Ceph?")
    assert best.node_id == "id-2"
    assert reranker._scorer is bundled_scorer()
    assert LimiarRerank.from_dict(reranker.to_dict())._scorer is bundled_scorer()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"top_n": 0}, r"top_n\n.*input_value=0"),
        ({"top_n": -1}, r"top_n\n.*input_value=-1"),
        ({"top_n": True}, r"top_n\n.*input_value=True"),
        ({"top_n": None}, r"top_n\n.*input_value=None"),
        ({"score_threshold": -0.1}, r"score_threshold\n.*input_value=-0.1"),
        ({"score_threshold": 1.1}, r"score_threshold\n.*input_value=1.1"),
        ({"score_threshold": float("nan")}, r"score_threshold\n.*input_value=nan"),
        ({"fallback": "best"}, r"fallback\n.*'top1', 'empty', 'original' or 'raise'.*input_value='best'"),
        ({"on_error": "ignore"}, r"on_error\n.*'raise' or 'original'.*input_value='ignore'"),
        ({"metadata_mode": "some"}, r"metadata_mode\n.*input_value='some'"),
        ({"top_k": 3}, r"top_k\n.*Extra inputs are not permitted"),
        ({"model": CE, "scorer": KeywordScorer()}, "model='cross-encoder/.*scorer=KeywordScorer are both given"),
        ({"scorer": object()}, "scorer is object; expected a model name, or an object with model_id"),
    ],
)
def test_bad_parameters_fail_at_once_and_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        LimiarRerank(**fields)


def test_assigned_fields_are_checked_and_used():
    reranker = keyword_rerank()
    reranker.top_n = 1
    assert len(reranker.postprocess_nodes(nodes(), query_str=QUERY)) == 1
    with pytest.raises(ValidationError, match="input_value=0"):
        reranker.top_n = 0
    with pytest.raises(ValidationError, match="frozen"):
        reranker.model = CE
    manager = CallbackManager([])
    reranker.callback_manager = manager
    assert reranker.callback_manager is manager


def test_warm_up_reaches_the_scorer():
    class Warm(KeywordScorer):
        loaded = 0

        def warm_up(self):
            self.loaded += 1

    scorer = Warm()
    LimiarRerank(scorer=scorer).warm_up()
    assert scorer.loaded == 1


@both_ways
async def test_a_query_is_needed(is_async):
    with pytest.raises(InputError, match="got no query; give query_bundle or query_str"):
        await run(keyword_rerank(), nodes(), None, is_async=is_async)
    kept = keyword_rerank().postprocess_nodes(nodes(), QueryBundle(QUERY))
    assert [node.node_id for node in kept] == ["id-2", "id-1"]


OUTCOMES = [
    pytest.param(KeywordScorer(), nodes(), QUERY, ["id-2", "id-1"], None, id="kept"),
    pytest.param(KeywordScorer(), [], QUERY, [], None, id="no nodes"),
    pytest.param(FakeScorer(error=OSError("gone")), nodes(), QUERY, [], ScoringError, id="failure"),
    pytest.param(FakeScorer(), nodes(), QUERY, [], NothingRelevantError, id="nothing relevant"),
    pytest.param(KeywordScorer(), nodes(), " ", [], InputError, id="blank query"),
]


@both_ways
@pytest.mark.parametrize(("scorer", "candidates", "query", "expected", "error"), OUTCOMES)
async def test_events_are_paired_on_every_path(is_async, scorer, candidates, query, expected, error, events, spans):
    debug = LlamaDebugHandler(print_trace_on_end=False)
    reranker = LimiarRerank(scorer=scorer, fallback="raise", callback_manager=CallbackManager([debug]))
    if error is None:
        await run(reranker, candidates, query, is_async=is_async)
    else:
        with pytest.raises(error):
            await run(reranker, candidates, query, is_async=is_async)

    start, end = events
    assert (start.query, start.top_n, start.model_name) == (query, 3, scorer.model_id)
    assert [n.node_id for n in start.nodes] == [n.node_id for n in candidates]
    assert [n.node_id for n in end.nodes] == expected
    start.model_dump_json()
    end.model_dump_json()

    ((before, after),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert before.payload[EventPayload.TOP_K] == 3
    assert before.payload[EventPayload.MODEL_NAME] == scorer.model_id
    if error is None:
        assert [n.node_id for n in after.payload[EventPayload.NODES]] == expected
    else:
        assert isinstance(after.payload[EventPayload.EXCEPTION], error)

    method = "_apostprocess_nodes" if is_async else "_postprocess_nodes"
    closed = spans.completed_spans if error is None else spans.dropped_spans
    assert [span.id_.startswith(f"LimiarRerank.{method}-") for span in closed] == [True]
    assert start.span_id == end.span_id == closed[0].id_
    assert not spans.open_spans


@pytest.fixture
def index():
    return VectorStoreIndex([item.node for item in nodes()], embed_model=MockEmbedding(embed_dim=8))


@both_ways
async def test_in_a_query_engine(index, is_async, events):
    debug = LlamaDebugHandler(print_trace_on_end=False)
    engine = RetrieverQueryEngine.from_args(
        index.as_retriever(similarity_top_k=10),
        llm=MockLLM(),
        node_postprocessors=[keyword_rerank()],
        callback_manager=CallbackManager([debug]),
    )
    answer = await engine.aquery(QUERY) if is_async else engine.query(QUERY)
    assert [(node.node_id, node.score) for node in answer.source_nodes] == [("id-2", 1.0), ("id-1", 0.5)]
    assert len(events) == 2
    prompt = str(answer)
    assert "source: a.pdf" in prompt
    assert "Ceph quorum" in prompt
    assert "Cake" not in prompt
    assert "relevance_" not in prompt
    assert "retrieval_score" not in prompt


@both_ways
async def test_in_a_query_engine_with_nothing_relevant(index, is_async):
    engine = RetrieverQueryEngine.from_args(
        index.as_retriever(similarity_top_k=10), llm=MockLLM(), node_postprocessors=[keyword_rerank()]
    )
    answer = await engine.aquery("bread") if is_async else engine.query("bread")
    (hedge,) = answer.source_nodes
    assert hedge.metadata["relevance_passed"] is False


@both_ways
@pytest.mark.parametrize("engine_type", [ContextChatEngine, CondensePlusContextChatEngine])
async def test_in_a_chat_engine(index, engine_type, is_async):
    engine = engine_type.from_defaults(
        retriever=index.as_retriever(similarity_top_k=10), llm=MockLLM(), node_postprocessors=[keyword_rerank()]
    )
    answer = await engine.achat(QUERY) if is_async else engine.chat(QUERY)
    assert [node.node_id for node in answer.source_nodes] == ["id-2", "id-1"]
    assert "Cake" not in str(answer)
    assert "relevance_" not in str(answer)


def test_in_the_engine_shortcut(index):
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=10, node_postprocessors=[keyword_rerank(top_n=1)])
    assert [node.node_id for node in engine.query(QUERY).source_nodes] == ["id-2"]
