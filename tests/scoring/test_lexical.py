"""Phrase closeness on passages small enough to check by hand."""

import pytest

from limiar.scoring.lexical import distinct, phrase_closeness, word_keys


def closeness(query: str, *passages: str) -> list[float]:
    return phrase_closeness(distinct(word_keys(query)), [word_keys(text) for text in passages]).tolist()


def test_neighbours_side_by_side_count_one_and_further_ones_less() -> None:
    assert closeness("red car", "red car", "red shiny car", "red", "green bus") == [1.0, 0.5, 0.0, 0.0]


def test_the_order_of_the_two_words_does_not_matter() -> None:
    assert closeness("red car", "car red") == [1.0]


def test_the_mean_is_over_the_pairs_of_neighbours() -> None:
    assert closeness("red car engine", "red car without noise") == [0.5]


def test_one_word_counts_one_where_it_occurs() -> None:
    assert closeness("quórum", "Sem quórum", "nada") == [1.0, 0.0]


def test_function_words_are_skipped_in_both() -> None:
    assert closeness("limite da dispensa", "limite para a dispensa") == [1.0]


def test_inflections_match_in_either_language() -> None:
    assert closeness("licitações dispensadas", "licitação dispensada") == [1.0]
    assert closeness("running clusters", "cluster runs") == [1.0]


def test_words_of_different_passages_are_not_neighbours() -> None:
    assert closeness("red car", "big red", "car park") == [0.0, 0.0]


def test_the_nearest_occurrence_counts() -> None:
    assert closeness("red car", "red tall old big car red") == [1.0]


@pytest.mark.parametrize(("query", "passages"), [("", ["text"]), ("de a o", ["text"]), ("red car", [""])])
def test_nothing_to_compare_is_zero(query: str, passages: list[str]) -> None:
    assert closeness(query, *passages) == [0.0] * len(passages)


def test_no_passages_no_values() -> None:
    assert closeness("red car") == []
