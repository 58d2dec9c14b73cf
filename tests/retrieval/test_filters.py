"""Filters: what each form means, checked against plain Python, and what is refused."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limiar.errors import InputError, InputTypeError
from limiar.retrieval.filters import filter_terms, matches, parse_filter

DOCUMENT = {
    "year": 2020, "court": "TCU", "tags": ["a", "b", 3], "draft": False, "none": None, "rate": 0.5,
    "when": dt.date(2020, 5, 1), "nested": {"x": 1},
}  # fmt: skip


def passes(condition, metadata=DOCUMENT) -> bool:
    return matches(parse_filter(condition), filter_terms(metadata, "the document"))


@pytest.mark.parametrize(
    "condition",
    [
        {"year": 2020}, {"year": 2020.0}, {"year": {"$eq": 2020}}, {"year": {"$ne": 2021}}, {"year": {"$ne": "2020"}},
        {"year": {"$in": [1999, 2020]}}, {"year": {"$nin": [1999]}}, {"year": {"$nin": []}},
        {"year": {"$gt": 2019}}, {"year": {"$gte": 2020}}, {"year": {"$lt": 2020.5}}, {"year": {"$lte": 2020}},
        {"year": {"$gte": 2000, "$lt": 2021, "$ne": 2001}},
        {"court": "TCU"}, {"court": {"$gte": "T", "$lt": "U"}}, {"court": {"$gt": "TC"}},
        {"tags": "a"}, {"tags": 3}, {"tags": {"$in": ["z", "b"]}}, {"draft": False}, {"none": None},
        {"rate": {"$gt": 0}}, {"when": "2020-05-01"}, {"when": {"$gte": dt.date(2020, 1, 1)}},
        {"year": 2020, "court": "TCU"}, {"$and": [{"year": 2020}, {"tags": "a"}]},
        {"$or": [{"year": 1999}, {"tags": "a"}]}, {"$not": {"year": 1999}}, {"$not": {"$not": {"year": 2020}}},
        {"missing": {"$ne": 1}}, {"$not": {"missing": 1}},
    ],
)  # fmt: skip
def test_what_matches(condition) -> None:
    assert passes(condition)


@pytest.mark.parametrize(
    "condition",
    [
        {"year": 2021}, {"year": "2020"}, {"year": True}, {"year": {"$gt": 2020}}, {"year": {"$lt": 2020}},
        {"year": {"$in": []}}, {"year": {"$gte": "0"}}, {"court": "TC"}, {"court": "tcu"}, {"court": {"$gte": "U"}},
        {"draft": 0}, {"draft": True}, {"none": "None"}, {"missing": None}, {"missing": {"$gt": 0}},
        {"nested": 1}, {"tags": {"$ne": "a"}}, {"year": 2020, "court": "STF"},
        {"$and": [{"year": 2020}, {"tags": "z"}]}, {"$or": [{"year": 1999}, {"tags": "z"}]}, {"$not": {"year": 2020}},
    ],
)  # fmt: skip
def test_what_does_not_match(condition) -> None:
    assert not passes(condition)


@pytest.mark.parametrize(
    ("condition", "error", "message"),
    [
        ("year=2020", InputTypeError, "the filter is str; expected a mapping"),
        ({"$xor": []}, InputError, r"unknown operator '\$xor'"),
        ({"year": {"$regex": "2"}}, InputError, r"unknown operator '\$regex' on 'year'"),
        ({"year": {}}, InputError, "the condition on 'year' is empty"),
        ({"$and": []}, InputError, r"\$and has an empty list"),
        ({"$or": [{}]}, InputError, r"\$or has an empty condition"),
        ({"$or": {"a": 1}}, InputTypeError, r"\$or has dict; expected a list"),
        ({"year": {"$in": "2020"}}, InputTypeError, r"\$in has str; expected a list"),
        ({"year": {"$gt": 1, "$lt": "b"}}, InputTypeError, "the bounds on 'year' are int, str"),
        ({"year": {"$gt": None}}, InputTypeError, "the bounds on 'year' are NoneType"),
        ({"year": {"$gt": 1, "$gte": 1}}, InputError, "bounds one side twice"),
        ({"year": math.nan}, InputError, "metadata 'year' of the filter is nan"),
        ({"year": [2020]}, InputTypeError, "metadata 'year' of the filter is list"),
        ({1: 2}, InputTypeError, "a metadata key of the filter is int"),
    ],
)
def test_what_is_refused(condition, error, message) -> None:
    with pytest.raises(error, match=message):
        parse_filter(condition)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([], "the metadata of document 3 is list"),
        ({1: 2}, "a metadata key of document 3 is int"),
        ({"a\0b": 2}, "holds a NUL"),
        ({"k" * 2000: 2}, "more than 1024 bytes"),
        ({"x": object()}, "metadata 'x' of document 3 is object"),
        ({"x": math.inf}, "metadata 'x' of document 3 is inf"),
        ({"x": 2**70}, "an integer of at most 64 bits"),
    ],
)
def test_metadata_that_is_refused(metadata, message) -> None:
    with pytest.raises(InputError, match=message):
        filter_terms(metadata, "document 3")


def test_no_filter() -> None:
    assert parse_filter(None) is None
    assert parse_filter({}) is None


def test_long_texts_are_told_apart() -> None:
    long = "x" * 20_000
    assert passes({"t": long + "a"}, {"t": long + "a"})
    assert not passes({"t": long + "b"}, {"t": long + "a"})


NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)


@given(NUMBERS, NUMBERS)
def test_numbers_compare_as_in_python(one, other) -> None:
    assert passes({"x": other}, {"x": one}) == (one == other)
    assert passes({"x": {"$lt": other}}, {"x": one}) == (one < other)
    assert passes({"x": {"$gte": other}}, {"x": one}) == (one >= other)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS, TEXTS)
def test_texts_compare_as_in_python(one, other) -> None:
    assert passes({"x": other}, {"x": one}) == (one == other)
    assert passes({"x": {"$lte": other}}, {"x": one}) == (one <= other)
    assert passes({"x": {"$gt": other}}, {"x": one}) == (one > other)
