"""`LimiarRerank` in LangChain: what it adds to documents, its trace, and its use in retrievers and chains."""

import copy
import json
import pickle
from uuid import UUID

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.load import dumps
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from pydantic import ValidationError

import langchain_limiar
from langchain_limiar import LimiarRerank
from limiar.errors import ScoringError
from limiar.testing import FakeScorer, KeywordScorer

QUERY = "ceph quorum"
TEXTS = ["Cake", "Proxmox quorum", "Ceph quorum"]
CE = "cross-encoder/ms-marco-MiniLM-L-6-v2"


def documents():
    return [Document(text, id=f"id-{index}", metadata={"source": "a.pdf"}) for index, text in enumerate(TEXTS)]


def keyword_rerank(**fields):
    return LimiarRerank(scorer=KeywordScorer(), **fields)


class Shelf(BaseRetriever):
    """A first stage that returns all it has."""

    def _get_relevant_documents(self, query, *, run_manager):
        return documents()

    async def _aget_relevant_documents(self, query, *, run_manager):
        return documents()


class Recorder(BaseCallbackHandler):
    raise_error = True

    def __init__(self):
        self.runs: dict[UUID, dict] = {}

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, **kwargs):
        self.runs[run_id] = {"name": kwargs.get("name"), "parent": parent_run_id, "inputs": inputs}

    def on_chain_end(self, outputs, *, run_id, **kwargs):
        self.runs[run_id]["outputs"] = outputs

    def on_chain_error(self, error, *, run_id, **kwargs):
        self.runs[run_id]["error"] = error

    def on_retriever_start(self, serialized, query, *, run_id, parent_run_id=None, **kwargs):
        self.runs[run_id] = {"name": "retriever:" + kwargs["name"], "parent": parent_run_id}

    def named(self, name):
        return [run for run in self.runs.values() if run["name"] == name]


def test_exported_members():
    assert "LimiarRerank" in langchain_limiar.__all__
    assert all(hasattr(langchain_limiar, name) for name in langchain_limiar.__all__)


def test_what_a_document_gains():
    kept = LimiarRerank(scorer=FakeScorer({"Ceph quorum": 2.0, "Cake": -1.0}, scale="logit"))
    best, second = kept.compress_documents(documents(), QUERY)
    assert best.metadata == {
        "source": "a.pdf",
        "relevance_score": pytest.approx(0.8807970779778823),
        "relevance_logit": 2.0,
        "relevance_rank": 3,
        "relevance_passed": True,
    }
    assert second.metadata["relevance_score"] == 0.5


def test_a_fallback_is_visible():
    (kept,) = LimiarRerank(scorer=FakeScorer(default=0.2)).compress_documents(documents(), QUERY)
    assert (kept.id, kept.metadata["relevance_passed"], kept.metadata["relevance_score"]) == ("id-0", False, 0.2)


def test_a_failure_is_visible_and_leaves_no_score():
    reranker = LimiarRerank(scorer=FakeScorer(error=OSError("gone")), on_error="original", top_n=2)
    scored_before = [
        doc.model_copy(update={"metadata": {"relevance_score": 0.9, "relevance_logit": 2.0}}) for doc in documents()
    ]
    kept = reranker.compress_documents(scored_before, QUERY)
    assert [doc.id for doc in kept] == ["id-0", "id-1"]
    assert set(kept[0].metadata) == {"relevance_error", "relevance_rank", "relevance_passed"}
    assert "OSError: gone" in kept[0].metadata["relevance_error"]
    assert kept[0].metadata["relevance_passed"] is False


def test_copies_keep_their_class_and_the_input_is_untouched():
    class Page(Document):
        number: int = 0

    nested = {"authors": ["A"]}
    page = Page("Ceph quorum", id="p", number=7, metadata=nested)
    before = copy.deepcopy(page)
    (kept,) = keyword_rerank().compress_documents([page], QUERY)
    assert type(kept) is Page
    assert kept.number == 7
    assert kept is not page
    assert kept.metadata is not nested
    assert page == before
    assert nested == {"authors": ["A"]}


def test_reranking_twice_gives_the_same():
    reranker = keyword_rerank(score_threshold=0.0)
    once = reranker.compress_documents(documents(), QUERY)
    twice = reranker.compress_documents(once, QUERY)
    assert [(d.id, d.metadata["relevance_score"]) for d in twice] == [("id-2", 1.0), ("id-1", 0.5), ("id-0", 0.0)]
    assert [d.metadata["relevance_rank"] for d in once] == [3, 2, 1]
    assert [d.metadata["relevance_rank"] for d in twice] == [1, 2, 3]
    probabilities = LimiarRerank(scorer=FakeScorer(default=0.7))
    logits = LimiarRerank(scorer=FakeScorer(default=0.7, scale="logit"))
    (kept, *_) = probabilities.compress_documents(logits.compress_documents(once, "q"), "q")
    assert "relevance_logit" not in kept.metadata


def test_results_are_json_and_langchain_serialisable():
    kept = keyword_rerank().compress_documents(documents(), QUERY)
    assert json.loads(json.dumps([doc.metadata for doc in kept]))[0]["relevance_score"] == 1.0
    assert "relevance_score" in dumps(kept)
    assert pickle.loads(pickle.dumps(kept)) == kept


async def test_rerank_gives_positions_and_scores():
    reranker = keyword_rerank()
    expected = [{"index": 2, "relevance_score": 1.0}, {"index": 1, "relevance_score": 0.5}]
    assert reranker.rerank(TEXTS, QUERY) == expected
    assert reranker.rerank(documents(), QUERY) == expected
    assert reranker.rerank(documents(), QUERY, top_n=1) == expected[:1]
    assert reranker.rerank(TEXTS * 3, QUERY, top_n=4)[3] == {"index": 1, "relevance_score": 0.5}
    assert reranker.top_n == 3
    assert reranker.rerank([], QUERY) == []
    with pytest.raises(ValidationError, match=r"top_n\n.*greater than or equal to 1.*input_value=0"):
        reranker.rerank(TEXTS, QUERY, top_n=0)


def test_construction_is_lazy_and_keeps_its_fields():
    reranker = LimiarRerank(model=CE, device="cpu", top_n=5)
    assert reranker.model_dump() == {
        "model": CE,
        "device": "cpu",
        "top_n": 5,
        "score_threshold": 0.45,
        "fallback": "top1",
        "on_error": "raise",
    }
    assert LimiarRerank(**reranker.model_dump()).model_dump() == reranker.model_dump()
    assert issubclass(LimiarRerank, BaseDocumentCompressor)
    assert "scorer" not in LimiarRerank(scorer=KeywordScorer()).model_dump()


def test_the_default_is_the_bundled_scorer():
    from limiar.scoring.resolve import bundled_scorer

    reranker = LimiarRerank()
    assert reranker.model_dump()["model"] is None
    (best, *_) = reranker.compress_documents(documents(), "o que é o quórum do Ceph?")
    assert best.id == "id-2"
    assert LimiarRerank()._scorer is bundled_scorer()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"top_n": 0}, r"top_n\n.*input_value=0"),
        ({"top_n": -1}, r"top_n\n.*input_value=-1"),
        ({"top_n": True}, r"top_n\n.*input_value=True"),
        ({"top_n": 2.5}, r"top_n\n.*input_value=2.5"),
        ({"top_n": None}, r"top_n\n.*input_value=None"),
        ({"score_threshold": -0.1}, r"score_threshold\n.*input_value=-0.1"),
        ({"score_threshold": 1.1}, r"score_threshold\n.*input_value=1.1"),
        ({"score_threshold": float("nan")}, r"score_threshold\n.*input_value=nan"),
        ({"score_threshold": "0.5"}, r"score_threshold\n.*input_value='0.5'"),
        ({"fallback": "best"}, r"fallback\n.*'top1', 'empty', 'original' or 'raise'.*input_value='best'"),
        ({"on_error": "ignore"}, r"on_error\n.*'raise' or 'original'.*input_value='ignore'"),
        ({"threshold": 0.5}, r"threshold\n.*Extra inputs are not permitted"),
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
    reranker.score_threshold = 1.0
    assert len(reranker.compress_documents(documents(), QUERY)) == 1
    assert len(reranker.model_copy(update={"score_threshold": 0.0, "top_n": 2}).rerank(TEXTS, QUERY)) == 2
    with pytest.raises(ValidationError, match="input_value=0"):
        reranker.top_n = 0
    assert reranker.top_n == 1
    with pytest.raises(ValidationError, match="frozen"):
        reranker.model = CE


def test_warm_up_reaches_the_scorer():
    class Warm(KeywordScorer):
        loaded = 0

        def warm_up(self):
            self.loaded += 1

    scorer = Warm()
    LimiarRerank(scorer=scorer).warm_up()
    assert scorer.loaded == 1
    keyword_rerank().warm_up()


@pytest.mark.parametrize("is_async", [False, True])
async def test_under_a_compression_retriever_with_its_own_trace_node(is_async):
    retriever = ContextualCompressionRetriever(base_compressor=keyword_rerank(), base_retriever=Shelf())
    recorder = Recorder()
    config = {"callbacks": [recorder]}
    kept = await retriever.ainvoke(QUERY, config) if is_async else retriever.invoke(QUERY, config)
    assert [doc.id for doc in kept] == ["id-2", "id-1"]

    (node,) = recorder.named("LimiarRerank")
    assert recorder.runs[node["parent"]]["name"] == "retriever:ContextualCompressionRetriever"
    assert node["inputs"]["query"] == QUERY
    summary = {key: value for key, value in node["outputs"].items() if key != "documents"}
    assert json.loads(json.dumps(summary)) == {
        "kept": 2,
        "threshold": 0.45,
        "fell_back": False,
        "model": "limiar/keyword",
        "error": None,
        "scores": [
            {"index": 2, "relevance_score": 1.0, "relevance_passed": True},
            {"index": 1, "relevance_score": 0.5, "relevance_passed": True},
            {"index": 0, "relevance_score": 0.0, "relevance_passed": False},
        ],
    }
    assert node["outputs"]["documents"] == kept


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_trace_shows_fallback_failure_and_error(is_async):
    async def trace_of(reranker):
        recorder = Recorder()
        if is_async:
            await reranker.acompress_documents(documents(), QUERY, callbacks=[recorder])
        else:
            reranker.compress_documents(documents(), QUERY, callbacks=[recorder])
        return recorder.named("LimiarRerank")[0]["outputs"]

    assert (await trace_of(LimiarRerank(scorer=FakeScorer(default=0.1))))["fell_back"] is True
    failed = await trace_of(LimiarRerank(scorer=FakeScorer(error=OSError("gone")), on_error="original"))
    assert "OSError: gone" in failed["error"]

    recorder = Recorder()
    broken = LimiarRerank(scorer=FakeScorer(error=OSError("gone")))
    with pytest.raises(ScoringError, match="OSError: gone"):
        broken.compress_documents(documents(), QUERY, callbacks=[recorder])
    assert isinstance(recorder.named("LimiarRerank")[0]["error"], ScoringError)


async def test_without_callbacks_it_joins_the_surrounding_run():
    recorder = Recorder()
    outer = RunnableLambda(lambda query: keyword_rerank().compress_documents(documents(), query), name="outer")
    outer.invoke(QUERY, {"callbacks": [recorder]})
    (node,) = recorder.named("LimiarRerank")
    assert recorder.runs[node["parent"]]["name"] == "outer"


@pytest.mark.parametrize("is_async", [False, True])
async def test_in_a_chain(is_async):
    prompt = ChatPromptTemplate.from_template("{context} | {question}")
    relevant = {"query": RunnablePassthrough(), "documents": Shelf()} | keyword_rerank().as_runnable()
    texts = relevant | (lambda kept: " + ".join(doc.page_content for doc in kept))
    chain = {"context": texts, "question": RunnablePassthrough()} | prompt
    recorder = Recorder()
    config = {"callbacks": [recorder]}
    answer = await chain.ainvoke(QUERY, config) if is_async else chain.invoke(QUERY, config)
    assert answer.to_string() == "Human: Ceph quorum + Proxmox quorum | ceph quorum"
    assert len(recorder.named("LimiarRerank")) == 1


async def test_as_runnable_alone():
    step = keyword_rerank().as_runnable()
    request = {"query": QUERY, "documents": documents()}
    expected = keyword_rerank().compress_documents(documents(), QUERY)
    assert step.invoke(request) == expected
    assert await step.ainvoke(request) == expected
    assert step.batch([request, request]) == [expected, expected]
    assert await step.abatch([request]) == [expected]
    assert list(step.stream(request)) == [expected]
    with pytest.raises(ValueError, match=r"\['documents', 'question'\]; expected a dict with 'query' and 'documents'"):
        step.invoke({"question": QUERY, "documents": []})
    with pytest.raises(ValueError, match="has str; expected a dict"):
        step.invoke(QUERY)


def test_texts_are_not_logged(caplog):
    caplog.set_level("DEBUG", logger="limiar")
    LimiarRerank(scorer=FakeScorer(error=OSError("gone")), on_error="original").compress_documents(documents(), "ceph?")
    LimiarRerank(scorer=FakeScorer()).compress_documents(documents(), "ceph?")
    assert caplog.messages
    assert not any(text in caplog.text for text in [*TEXTS, "ceph?"])
