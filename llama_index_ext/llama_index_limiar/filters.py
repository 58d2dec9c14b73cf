"""LlamaIndex's `MetadataFilters` as limiar's filters."""

import sys
from collections.abc import Mapping
from typing import Any

from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from limiar.errors import ConfigurationError

_SAME = {
    FilterOperator.EQ: "$eq",
    FilterOperator.NE: "$ne",
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in",
    FilterOperator.NIN: "$nin",
    FilterOperator.ANY: "$in",
    FilterOperator.CONTAINS: "$eq",
}
_HELD = ({"$gt": ""}, {"$gte": -sys.float_info.max}, {"$in": [True, False]})
"""Some text, any number, any bool: what a document whose key is not empty holds."""


def filter_mapping(where: object) -> dict[str, Any] | None:
    """The filter in the form of `limiar.retrieval.filters`; None for none.

    "text_match" and "text_match_insensitive" have no counterpart. `IS_EMPTY` holds where the key is absent, None, "",
    or an empty list.

    Raises:
        ConfigurationError: it is neither a mapping nor `MetadataFilters`, or an operator has no counterpart.
    """
    if where is None:
        return None
    if isinstance(where, MetadataFilters):
        return _group(where) if where.filters else {}
    if not isinstance(where, Mapping):
        msg = f"filter is {type(where).__name__}; expected a mapping such as {{'year': 2020}}, or MetadataFilters"
        raise ConfigurationError(msg)
    return dict(where)


def _group(group: MetadataFilters) -> dict[str, Any]:
    if not group.filters:
        msg = "MetadataFilters within MetadataFilters are empty; expected at least one filter"
        raise ConfigurationError(msg)
    parts = [_group(part) if isinstance(part, MetadataFilters) else _single(part) for part in group.filters]
    if group.condition == FilterCondition.OR:
        return {"$or": parts}
    if group.condition == FilterCondition.NOT:
        return {"$not": {"$or": parts}}
    return {"$and": parts}


def _single(part: MetadataFilter) -> dict[str, Any]:
    if part.operator in _SAME:
        return {part.key: {_SAME[part.operator]: part.value}}
    if part.operator == FilterOperator.ALL and isinstance(part.value, list) and part.value:
        return {"$and": [{part.key: {"$eq": value}} for value in part.value]}
    if part.operator == FilterOperator.IS_EMPTY:
        return {"$not": {"$or": [{part.key: held} for held in _HELD]}}
    msg = f"the operator {part.operator.value!r} on {part.key!r} has no counterpart in a HybridIndex"
    raise ConfigurationError(msg)
