"""Checks that a model's files are a whole cross-encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limiar.errors import ModelDamagedError, ModelError
from limiar.hub_files import read_json, reason, weight_files, weight_names

_HEAD = "ForSequenceClassification"
EXAMPLES = "cross-encoder/ms-marco-MiniLM-L-6-v2 or BAAI/bge-reranker-base"


def check_files(folder: Path, model: str) -> set[str]:
    """Check that the files are a whole cross-encoder; the names of its weights.

    Raises:
        ModelDamagedError: a file is missing or cannot be read.
        ModelError: the model is of another kind.
    """
    from safetensors import SafetensorError

    path = folder
    try:
        path = folder / "modules.json"
        modules = read_json(path) if path.is_file() else None
        inner = folder / modules[0]["path"] if modules else folder
        path = inner / "config.json"
        _check_kind(read_json(path), folder, model)
        for path in inner.glob("*.json"):
            read_json(path)
        path = inner
        names: set[str] = set()
        for path in weight_files(inner):
            names.update(weight_names(path))
    except (OSError, EOFError, ValueError, RuntimeError, LookupError, TypeError, SafetensorError) as error:
        msg = f"{path} of model {model!r} cannot be read ({reason(error)}); download the model again"
        raise ModelDamagedError(msg) from error
    return names


def _check_kind(config: Mapping[str, Any], folder: Path, model: str) -> None:
    """Refuse encoders and language models, on which sentence-transformers would put a head of random weights."""
    architecture = (config.get("architectures") or [_HEAD])[0]
    if architecture.endswith(_HEAD):
        return
    declared = folder / "config_sentence_transformers.json"
    if declared.is_file() and read_json(declared).get("model_type") == "CrossEncoder":
        return
    raise ModelError(_not_a_cross_encoder(model, f"its config.json declares {architecture}"))


def check_head(model: Any, names: set[str], model_id: str) -> None:
    """Refuse a model whose classification head is not among its weights: it was filled with random numbers."""
    inner = model.model
    if inner is None or not type(inner).__name__.endswith(_HEAD):
        return
    body = f"{inner.base_model_prefix}."
    head = [name for name, _ in inner.named_parameters() if not name.startswith(body)]
    missing = [name for name in head if not any(f".{stored}".endswith(f".{name}") for stored in names)]
    if missing:
        raise ModelError(_not_a_cross_encoder(model_id, f"its weights lack {', '.join(missing)}"))


def _not_a_cross_encoder(model: str, why: str) -> str:
    return (
        f"{model!r} is not a cross-encoder: {why}, so it has no trained classification head and its scores would be "
        f"random. Choose a cross-encoder such as {EXAMPLES}"
    )
