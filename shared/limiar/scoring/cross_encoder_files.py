"""Finds a cross-encoder's files, fetches them if need be, and checks that they are one."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limiar.errors import ModelDamagedError, ModelError, ModelNotFoundError

logger = logging.getLogger("limiar")

_HEAD = "ForSequenceClassification"
EXAMPLES = "cross-encoder/ms-marco-MiniLM-L-6-v2 or BAAI/bge-reranker-base"
_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.py"]
_OTHER_RUNTIMES = ["onnx/*", "openvino/*"]
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def locate(model: str, revision: str | None) -> Path:
    """The folder of a model: the caller's own, or the hub's cache."""
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        msg = f"model={model!r} is a file; expected the folder that holds the model, or a Hugging Face id"
        raise ModelNotFoundError(msg)
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1 or "\\" in model:
        msg = f"model={model!r}: there is no such folder"
        raise ModelNotFoundError(msg)
    try:
        return _download(model, revision)
    except Exception as error:
        at = "" if revision is None else f" at revision {revision!r}"
        msg = (
            f"model {model!r}{at} is not a folder here and could not be downloaded ({reason(error)}). Check the name, "
            "the network, and the token if the model is private or gated; or download it elsewhere with "
            f"`hf download {model} --local-dir DIR` and give that folder; or leave the model out to use the bundled "
            "scorer, which needs no download"
        )
        raise ModelNotFoundError(msg) from error


def _download(model: str, revision: str | None) -> Path:
    """Fetch one copy of the weights and nothing for other runtimes; the cache serves what it has.

    One call that asks the hub once fails in a moment where there is no network; loading by name takes a minute.
    """
    from huggingface_hub import snapshot_download
    from tqdm import tqdm

    class NoBar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

    def fetch(patterns: list[str]) -> Path:
        folder = snapshot_download(
            model, revision=revision, allow_patterns=patterns, ignore_patterns=_OTHER_RUNTIMES, tqdm_class=NoBar
        )
        return Path(folder)

    logger.info("looking up %s on the Hugging Face hub", model)
    folder = fetch([*_SMALL_FILES, "*.safetensors"])
    return folder if any(folder.rglob("*.safetensors")) else fetch([*_SMALL_FILES, "*.bin"])


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
        modules = _json(path) if path.is_file() else None
        inner = folder / modules[0]["path"] if modules else folder
        path = inner / "config.json"
        _check_kind(_json(path), folder, model)
        for path in inner.glob("*.json"):
            _json(path)
        path = inner
        names: set[str] = set()
        for path in _weight_files(inner):
            names.update(_weight_names(path))
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
    if declared.is_file() and _json(declared).get("model_type") == "CrossEncoder":
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


def check_tokenizer(model: Any, folder: Path, model_id: str) -> None:
    """Refuse the empty tokenizer that transformers makes up where the files are missing: it knows no word."""
    known, read = len(model.tokenizer), getattr(model.config, "vocab_size", None) or 0
    if 2 * known < read:
        msg = (
            f"the tokenizer of {model_id!r} in {folder} knows {known} tokens, the model {read}: a file is missing, "
            "such as tokenizer.json, vocab.txt or sentencepiece.bpe.model"
        )
        raise ModelDamagedError(msg)


def _not_a_cross_encoder(model: str, why: str) -> str:
    return (
        f"{model!r} is not a cross-encoder: {why}, so it has no trained classification head and its scores would be "
        f"random. Choose a cross-encoder such as {EXAMPLES}"
    )


def _weight_files(folder: Path) -> list[Path]:
    """The files that transformers would read, in its order of preference."""
    for name in _WEIGHTS:
        path = folder / name
        if path.is_file():
            shards = _json(path)["weight_map"].values() if path.suffix == ".json" else [name]
            return [folder / shard for shard in sorted(set(shards))]
    msg = f"it has no weights: none of {', '.join(_WEIGHTS)}"
    raise FileNotFoundError(msg)


def _weight_names(path: Path) -> list[str]:
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(str(path), framework="pt") as file:
            return list(file.keys())
    import torch

    try:
        return list(torch.load(path, map_location="meta", weights_only=True))
    except Exception as error:
        msg = f"not a readable weights file: {reason(error)}"
        raise ValueError(msg) from error


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def reason(error: Exception) -> str:
    """The error's kind and first line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ": ".join([type(error).__name__, *said.strip().splitlines()[:1]])
