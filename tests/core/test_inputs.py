"""What callers hand in: each bad input has one clear error, and odd but legal texts pass unchanged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limiar.errors import ConfigurationError, InputError, InputTypeError
from limiar.inputs import check_query, check_texts, encodable
from limiar.rerank import Reranker
from limiar.selection import SelectionPolicy
from limiar.service import RerankerService
from limiar.testing import FakeScorer, KeywordScorer

ODD_TEXTS = {
    "emoji": "o cluster caiu 🔥👩‍👩‍👧‍👦",
    "lone surrogate": "quorum \ud83d perdido",
    "right to left": "فقدان النصاب يوقف العنقود \u202e",
    "null": "before\x00after",
    "combining": "licitac\u0327a\u0303o",
    "one line of 20,000 words": "palavra " * 20_000,
}


def kept(query: str, documents: Any, **options: Any) -> list[int]:
    return [document.index for document in Reranker(KeywordScorer(), **options).rerank(query, documents).kept]


# Queries


@pytest.mark.parametrize("query", ["", " ", "\n\t", "\u00a0\u3000"])
def test_a_blank_query_is_refused(query: str) -> None:
    with pytest.raises(InputError, match="expected text to look for"):
        kept(query, ["a"])


@pytest.mark.parametrize("query", [None, 7, b"quorum", ["quorum"], {"query": "quorum"}])
def test_a_query_that_is_not_text_is_refused_by_its_type(query: Any) -> None:
    with pytest.raises(InputTypeError, match=rf"the query is {type(query).__name__}.*expected a string"):
        kept(query, ["a"])


def test_the_query_is_checked_before_the_documents_are_read() -> None:
    def never() -> Iterator[str]:
        pytest.fail("the documents were read")
        yield ""

    with pytest.raises(InputError):
        kept(" ", never())


def test_a_query_passes_as_it_is() -> None:
    scorer = FakeScorer()
    Reranker(scorer).rerank("  O que é quorum?\n", ["a"])
    assert scorer.calls[0][0] == "  O que é quorum?\n"


# Documents


def test_no_documents_give_nothing() -> None:
    assert kept("quorum", []) == []
    assert kept("quorum", ()) == []
    assert kept("quorum", iter([])) == []


def test_one_document() -> None:
    assert kept("quorum", ["quorum"]) == [0]
    assert kept("quorum", ["cake"]) == [0], "nothing passes: the best one is the only one"
    assert kept("quorum", ["cake"], fallback="empty") == []


@pytest.mark.parametrize("blank", ["", "   ", "\n"])
def test_blank_documents_are_legal_and_last(blank: str) -> None:
    assert kept("quorum", [blank, "quorum"], threshold=0.0) == [1, 0]


@pytest.mark.parametrize("documents", ["one text", b"one text", None, 7, object()])
def test_what_is_not_a_list_of_texts_is_refused(documents: Any) -> None:
    with pytest.raises(InputTypeError, match="expected a list of strings"):
        kept("quorum", documents)


@pytest.mark.parametrize("member", [None, 7, 0.5, b"bytes", ["nested"], {"page_content": "x"}, np.float64(1)])
def test_a_document_that_is_not_text_is_refused_with_its_position(member: Any) -> None:
    with pytest.raises(InputTypeError, match=rf"document 1 is {type(member).__name__}.*expected a string"):
        kept("quorum", ["fine", member])


@pytest.mark.parametrize("documents", ["one text", b"one text", None, 7])
def test_the_service_refuses_the_same(documents: Any) -> None:
    service = RerankerService(KeywordScorer())
    for call in (service.get_relevant_docs, service.rerank, service.explain):
        with pytest.raises(InputTypeError, match="expected a list of strings"):
            call("quorum", documents)


class Passage:
    def __repr__(self) -> str:
        return "Passage(page_content='the-secret-text')"


@pytest.mark.parametrize("member", [Passage(), b"the-secret-text", ["the-secret-text"], {"text": "the-secret-text"}])
def test_no_text_of_a_document_reaches_a_message(member: Any) -> None:
    with pytest.raises(InputTypeError) as caught:
        kept("quorum", [member])
    assert "the-secret-text" not in str(caught.value)


def test_an_input_error_is_also_what_python_would_raise() -> None:
    assert issubclass(InputError, ValueError)
    assert issubclass(InputTypeError, TypeError)


def test_a_generator_is_read_once() -> None:
    assert kept("quorum", (text for text in ["cake", "quorum"])) == [1]
    service = RerankerService(KeywordScorer())
    assert service.get_relevant_docs("quorum", (text for text in ["cake", "quorum"])) == ["quorum"]


def test_an_error_while_the_documents_are_read_is_the_caller_s_own() -> None:
    def broken() -> Iterator[str]:
        yield "quorum"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        kept("quorum", broken())


def test_duplicates_stay_apart_and_in_order() -> None:
    assert kept("quorum", ["quorum", "cake", "quorum", "quorum"], top_k=10) == [0, 2, 3]


def test_a_passage_of_5_megabytes() -> None:
    huge = "palavra " * 650_000
    assert len(huge.encode()) > 5_000_000
    assert kept("quorum", ["cake", huge + "quorum"]) == [1]


def test_10000_passages() -> None:
    passages = [f"passage {number}" for number in range(10_000)]
    passages[7_777] = "the quorum"
    result = Reranker(KeywordScorer()).rerank("quorum", passages)
    assert [document.index for document in result.kept] == [7_777]
    assert len(result.dropped) == 9_999
    assert [document.index for document in result.dropped[:3]] == [0, 1, 2]


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
def test_odd_texts_reach_the_scorer_and_the_caller_unchanged(text: str) -> None:
    scorer = FakeScorer({text: 0.9})
    service = RerankerService(scorer)
    assert service.get_relevant_docs(text, [text, "other"]) == [text]
    assert scorer.calls == [(text, [text, "other"])]


def test_a_returned_text_is_the_caller_s_own_object() -> None:
    text = "quorum {}".format("lost")  # made at run time: no interned literal
    (returned,) = RerankerService(KeywordScorer()).get_relevant_docs("quorum", [text])
    assert returned is text


def test_check_texts_gives_a_new_list() -> None:
    documents = ["a", ""]
    checked = check_texts(documents)
    assert checked == documents
    assert checked is not documents


def test_check_query_gives_the_query_itself() -> None:
    assert check_query(" quorum ") == " quorum "


# Lone surrogates cannot be encoded


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("quorum", "quorum"),
        ("ação 🔥", "ação 🔥"),
        ("a\ud83db", "a\ufffdb"),
        ("a\udd25", "a\ufffd"),
        ("\ud83d\udd25", "🔥"),
        ("", ""),
    ],
)
def test_encodable(text: str, encoded: str) -> None:
    assert encodable(text) == encoded


@given(st.text(st.characters()))
def test_any_text_can_be_made_encodable(text: str) -> None:
    encodable(text).encode("utf-8")
    assert encodable(encodable(text)) == encodable(text)


# Options


@pytest.mark.parametrize("top_k", [0, -1, True, False, 1.5, 3.0, "3", None])
def test_a_bad_top_k_is_refused_everywhere(top_k: Any) -> None:
    service = RerankerService(KeywordScorer())
    for call in (
        lambda: SelectionPolicy(top_k=top_k),
        lambda: Reranker(KeywordScorer(), top_k=top_k),
        lambda: service.get_relevant_docs("quorum", ["a"], top_k),
        lambda: service.rerank("quorum", ["a"], top_k=top_k),
        lambda: service.explain("quorum", [], top_k=top_k),
    ):
        with pytest.raises(ConfigurationError, match="expected a whole number of at least 1"):
            call()


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, math.inf, -math.inf, "0.5", True, False, None, [0.5]])
def test_a_bad_threshold_is_refused_everywhere(threshold: Any) -> None:
    service = RerankerService(KeywordScorer())
    for call in (
        lambda: SelectionPolicy(threshold=threshold),
        lambda: Reranker(KeywordScorer(), threshold=threshold),
        lambda: RerankerService(KeywordScorer(), threshold=threshold),
        lambda: setattr(service, "threshold", threshold),
    ):
        with pytest.raises(ConfigurationError, match="expected a number from 0 to 1"):
            call()
    assert service.threshold == 0.45


@pytest.mark.parametrize("threshold", [0, 1, 0.0, 1.0, 0.45, np.float64(0.5)])
def test_a_threshold_at_either_end_is_fine(threshold: float) -> None:
    assert SelectionPolicy(threshold=threshold).threshold == threshold
