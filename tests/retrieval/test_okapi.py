"""`OkapiBM25` is rank_bm25's, number by number."""

from __future__ import annotations

import pytest

from limiar import Analyzer, IndexDocument, OkapiBM25
from limiar.evaluation.dataset import load_demo

rank_bm25 = pytest.importorskip("rank_bm25")


@pytest.mark.parametrize("parameters", [{}, {"k1": 0.9, "b": 0.4, "epsilon": 0.1}])
def test_scores_are_those_of_rank_bm25(parameters) -> None:
    demo = load_demo()
    analyzer = Analyzer("pt")
    exact = rank_bm25.BM25Okapi([analyzer(passage.full_text) for passage in demo.passages], **parameters)
    index = OkapiBM25(analyzer=analyzer, **parameters)
    index.add(IndexDocument(passage.id, {"text": passage.full_text}) for passage in demo.passages)
    compared = 0
    for question in demo.questions:
        expected = dict(zip(index.ids(), exact.get_scores(analyzer(question.text)), strict=True))
        hits = index.search(question.text, k=len(index))
        assert {hit.id: hit.score for hit in hits} == pytest.approx(
            {hit.id: expected[hit.id] for hit in hits}, abs=1e-9
        )
        assert all(expected[identity] == 0.0 for identity in expected.keys() - {hit.id for hit in hits})
        compared += len(hits)
    assert compared > 100


def test_weighted_fields_add_up() -> None:
    documents = [
        IndexDocument("1", {"title": "licitação", "text": "pregão eletrônico"}),
        IndexDocument("2", {"title": "pregão", "text": "licitação pública"}),
        IndexDocument("3", {"title": "aposentadoria", "text": "servidor"}),
    ]
    index = OkapiBM25(fields={"title": 3.0, "text": 1.0})
    index.add(documents)
    assert [hit.id for hit in index.search("licitação")] == ["1", "2"]
    assert [hit.id for hit in index.search("licitação", weights={"title": 0})] == ["2"]
    both = {hit.id: hit.score for hit in index.search("licitação", weights={"title": 1})}
    title = {hit.id: hit.score for hit in index.search("licitação", weights={"title": 1, "text": 0})}
    text = {hit.id: hit.score for hit in index.search("licitação", weights={"title": 0, "text": 1})}
    assert both == pytest.approx({"1": title["1"], "2": text["2"]})


def test_a_term_in_every_document_is_still_a_hit() -> None:
    index = OkapiBM25()
    index.add([IndexDocument("1", {"text": "lei"}), IndexDocument("2", {"text": "lei"})])
    assert [hit.id for hit in index.search("lei")] == ["1", "2"]
