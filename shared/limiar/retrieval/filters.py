"""Metadata filters: their grammar, their meaning, and the order-preserving form in which engines compare values.

    {"year": 2020}                                 equality; on a list, "holds"
    {"year": {"$in": [2020, 2021]}}                also "$eq", "$ne", "$nin"
    {"year": {"$gte": 2019, "$lt": 2022}}          also "$gt", "$lte"
    {"$and": [...]}, {"$or": [...]}, {"$not": {...}}

Several keys, or several operators on one key, are all required. A document without the key matches only negations
("$ne", "$nin", "$not").

Values: text, bool, int (64 bits), float, None, date and datetime (compared as ISO 8601 text), and lists of these, of
which any one may match. Numbers equal numbers (1 is 1.0) and never bools or text. Nested mappings in metadata are
allowed and cannot be filtered on. Text longer than 8,192 bytes is compared for order by its first 8,192 only.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import numbers
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from limiar.errors import InputError, InputTypeError
from limiar.inputs import encodable

LONGEST_TEXT = 8_192
_LONGEST_KEY = 1_024
_SIGN = 1 << 63
_NUMBER, _TEXT = b"n", b"s"


@dataclass(frozen=True)
class AnyOf:
    """The document holds one of these terms."""

    terms: tuple[bytes, ...]


@dataclass(frozen=True)
class Between:
    """The document holds a term in this range."""

    lower: bytes
    upper: bytes
    include_lower: bool
    include_upper: bool


@dataclass(frozen=True)
class AllMatch:
    """Every part matches."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class AnyMatches:
    """At least one part matches."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class Negation:
    """The part does not match."""

    part: Filter


Filter: TypeAlias = AnyOf | Between | AllMatch | AnyMatches | Negation


def matches(condition: Filter, terms: frozenset[bytes]) -> bool:
    """Whether a document with these `filter_terms` passes."""
    if isinstance(condition, AnyOf):
        return not terms.isdisjoint(condition.terms)
    if isinstance(condition, Between):
        return any(_is_between(term, condition) for term in terms)
    if isinstance(condition, AllMatch):
        return all(matches(part, terms) for part in condition.parts)
    if isinstance(condition, AnyMatches):
        return any(matches(part, terms) for part in condition.parts)
    return not matches(condition.part, terms)


def _is_between(term: bytes, bounds: Between) -> bool:
    above = term > bounds.lower or (bounds.include_lower and term == bounds.lower)
    below = term < bounds.upper or (bounds.include_upper and term == bounds.upper)
    return above and below


def filter_terms(metadata: object, where: str) -> frozenset[bytes]:
    """The terms of a document's metadata: for each key, one for each value that can be filtered on.

    Raises:
        InputTypeError: not a mapping with text keys, or a value has a type that filters do not know.
        InputError: a number is not finite or too large, or a key is too long or holds a NUL.
    """
    if not isinstance(metadata, Mapping):
        msg = f"the metadata of {where} is {type(metadata).__name__}; expected a mapping"
        raise InputTypeError(msg)
    terms: set[bytes] = set()
    for key, value in metadata.items():
        prefix = _prefix(key, where)
        values = value if isinstance(value, list | tuple | set | frozenset) else (value,)
        terms.update(prefix + _encoded(one, key, where) for one in values if not isinstance(one, Mapping))
    return frozenset(terms)


def parse_filter(where: object) -> Filter | None:
    """The condition that a filter in dict form states; None for None or {}.

    Raises:
        InputTypeError: not a mapping, or a value has a type that filters do not know.
        InputError: an unknown operator, or an operand that it cannot take.
    """
    if where is None:
        return None
    if not isinstance(where, Mapping):
        msg = f"the filter is {type(where).__name__}; expected a mapping such as {{'year': {{'$gte': 2020}}}}"
        raise InputTypeError(msg)
    return _all([_entry(key, operand) for key, operand in where.items()]) if where else None


def _all(parts: list[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else AllMatch(tuple(parts))


def _entry(key: object, operand: object) -> Filter:
    if key in ("$and", "$or"):
        parts = tuple(_required(part, str(key)) for part in _operands(operand, str(key)))
        if not parts:
            msg = f"{key} has an empty list; expected at least one condition"
            raise InputError(msg)
        return AllMatch(parts) if key == "$and" else AnyMatches(parts)
    if key == "$not":
        return Negation(_required(operand, "$not"))
    if isinstance(key, str) and key.startswith("$"):
        msg = f"unknown operator {key!r}; expected a metadata key, $and, $or or $not"
        raise InputError(msg)
    prefix = _prefix(key, "the filter")
    if not isinstance(operand, Mapping):
        return _equal(prefix, str(key), operand)
    return _comparisons(prefix, str(key), operand)


def _required(condition: object, operator: str) -> Filter:
    parsed = parse_filter(condition)
    if parsed is None:
        msg = f"{operator} has an empty condition; expected a mapping such as {{'year': 2020}}"
        raise InputError(msg)
    return parsed


def _operands(operand: object, operator: str) -> list[object]:
    if not isinstance(operand, list | tuple | set | frozenset):
        msg = f"{operator} has {type(operand).__name__}; expected a list"
        raise InputTypeError(msg)
    return list(operand)


def _equal(prefix: bytes, key: str, value: object) -> Filter:
    return AnyOf((prefix + _encoded(value, key, "the filter"),))


def _comparisons(prefix: bytes, key: str, operators: Mapping[object, object]) -> Filter:
    parts: list[Filter] = []
    bounds: dict[str, object] = {}
    for operator, operand in operators.items():
        if operator in ("$gt", "$gte", "$lt", "$lte"):
            bounds[str(operator)] = operand
        elif operator in ("$eq", "$ne"):
            equal = _equal(prefix, key, operand)
            parts.append(Negation(equal) if operator == "$ne" else equal)
        elif operator in ("$in", "$nin"):
            values = _operands(operand, str(operator))
            any_of = AnyOf(tuple(prefix + _encoded(value, key, "the filter") for value in values))
            parts.append(Negation(any_of) if operator == "$nin" else any_of)
        else:
            msg = f"unknown operator {operator!r} on {key!r}; expected $eq, $ne, $in, $nin, $gt, $gte, $lt or $lte"
            raise InputError(msg)
    if bounds:
        parts.append(_range(prefix, key, bounds))
    if not parts:
        msg = f"the condition on {key!r} is empty; expected a value or an operator such as $gte"
        raise InputError(msg)
    return _all(parts)


def _range(prefix: bytes, key: str, bounds: Mapping[str, object]) -> Filter:
    if {"$gt", "$gte"} <= bounds.keys() or {"$lt", "$lte"} <= bounds.keys():
        msg = f"the condition on {key!r} bounds one side twice; expected one of $gt and $gte, one of $lt and $lte"
        raise InputError(msg)
    encoded = {operator: _encoded(bound, key, "the filter") for operator, bound in bounds.items()}
    kinds = {value[:1] for value in encoded.values()}
    if len(kinds) > 1 or not kinds <= {_NUMBER, _TEXT}:
        types = ", ".join(type(bound).__name__ for bound in bounds.values())
        msg = f"the bounds on {key!r} are {types}; expected numbers, or texts"
        raise InputTypeError(msg)
    kind = kinds.pop()
    lower = encoded.get("$gte", encoded.get("$gt", kind))
    upper = encoded.get("$lte", encoded.get("$lt", bytes([kind[0] + 1])))
    return Between(prefix + lower, prefix + upper, "$gt" not in encoded, "$lte" in encoded)


def _prefix(key: object, where: str) -> bytes:
    if not isinstance(key, str):
        msg = f"a metadata key of {where} is {type(key).__name__}; expected a string"
        raise InputTypeError(msg)
    prefix = encodable(key).encode()
    if b"\0" in prefix or len(prefix) > _LONGEST_KEY:
        msg = f"a metadata key of {where} holds a NUL or more than {_LONGEST_KEY} bytes; choose another"
        raise InputError(msg)
    return prefix + b"\0"


def _encoded(value: object, key: str, where: str) -> bytes:
    """Bytes that compare as the values do, within each kind."""
    if value is None:
        return b"z"
    if isinstance(value, bool):
        return b"b1" if value else b"b0"
    if isinstance(value, dt.date):
        value = value.isoformat()
    if isinstance(value, str):
        text = encodable(value).encode()
        if len(text) > LONGEST_TEXT:
            text = text[:LONGEST_TEXT] + hashlib.sha256(text).digest()
        return _TEXT + text
    if isinstance(value, numbers.Real):
        return _NUMBER + _encoded_number(value, key, where)
    expected = "text, a number, a bool, None, a date or a list of these"
    msg = f"metadata {key!r} of {where} is {type(value).__name__}; expected {expected}"
    raise InputTypeError(msg)


def _encoded_number(value: numbers.Real, key: str, where: str) -> bytes:
    """The nearest double, made to sort as bytes do, then what a 64-bit integer is above or below it."""
    number: int | float = int(value) if isinstance(value, numbers.Integral) else float(value)
    if not math.isfinite(number) if isinstance(number, float) else not -_SIGN <= number < 2 * _SIGN:
        msg = f"metadata {key!r} of {where} is {number}; expected a finite number, an integer of at most 64 bits"
        raise InputError(msg)
    nearest = float(number) + 0.0
    bits = int.from_bytes(struct.pack(">d", nearest), "big")
    ordered = bits ^ (2 * _SIGN - 1) if bits & _SIGN else bits | _SIGN
    above = int(number) - int(nearest) if isinstance(number, int) else 0
    return struct.pack(">QH", ordered, above + 0x8000)
