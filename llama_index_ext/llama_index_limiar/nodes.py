"""Nodes as they are given, and copies with marks in their metadata that no embedding model and no LLM reads."""

from collections.abc import Iterable, Mapping
from typing import Any

from llama_index.core.schema import BaseNode

from limiar.errors import InputTypeError


def check_members(nodes: object) -> Iterable[object]:
    """`nodes` itself, if it can hold nodes; else `InputTypeError`."""
    if isinstance(nodes, str | bytes | Mapping | BaseNode) or not isinstance(nodes, Iterable):
        msg = f"nodes is {type(nodes).__name__}; expected an iterable of nodes"
        raise InputTypeError(msg)
    return nodes


def marked_copy(node: BaseNode, kept: Mapping[str, Any], added: Mapping[str, Any]) -> BaseNode:
    """A copy of `node` whose metadata are `kept` and `added`, the latter hidden from embedding and LLM text."""
    return node.model_copy(
        update={
            "metadata": {**kept, **added},
            "excluded_embed_metadata_keys": _extended(node.excluded_embed_metadata_keys, added),
            "excluded_llm_metadata_keys": _extended(node.excluded_llm_metadata_keys, added),
        }
    )


def _extended(excluded: list[str], keys: Mapping[str, Any]) -> list[str]:
    return [*excluded, *(key for key in keys if key not in excluded)]
