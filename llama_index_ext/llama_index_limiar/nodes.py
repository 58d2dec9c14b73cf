"""Nodes as they are given, and copies with marks in their metadata that no embedding model and no LLM reads."""

from collections.abc import Iterable, Mapping
from typing import Any

from llama_index.core.schema import BaseNode

from limiar.errors import InputTypeError
from limiar.inputs import check_members


def check_nodes(nodes: object) -> Iterable[object]:
    """`nodes` itself, if it can hold nodes; else `InputTypeError`."""
    return check_members(nodes, "nodes", BaseNode, "an iterable of nodes")


def check_node(item: object, position: int) -> BaseNode:
    """`item` itself, if it is a node; else `InputTypeError`."""
    if not isinstance(item, BaseNode):
        msg = f"node {position} is {type(item).__name__}; expected a LlamaIndex node"
        raise InputTypeError(msg)
    return item


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
