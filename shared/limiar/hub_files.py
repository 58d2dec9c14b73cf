"""Finds the files of a Hugging Face model, fetches them if need be, and reads what they say about themselves."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from limiar.errors import ModelDamagedError, ModelNotFoundError

logger = logging.getLogger("limiar")

_SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.py"]
_OTHER_RUNTIMES = ["onnx/*", "openvino/*"]
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def locate(model: str, revision: str | None, instead: str) -> Path:
    """The folder of a model: the caller's own, or the hub's cache.

    Args:
        model: a folder, or a Hugging Face id. What exists as a folder never goes to the hub.
        revision: a branch, tag or commit on the hub.
        instead: what needs no download, for the message.

    Raises:
        ModelNotFoundError: there is no such folder, or the hub has no such model or cannot be reached.
    """
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
            f"`hf download {model} --local-dir DIR` and give that folder; or {instead}, which needs no download"
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


def check_tokenizer(tokenizer: Any, config: Any, folder: Path, model_id: str) -> None:
    """Refuse the empty tokenizer that transformers makes up where the files are missing: it knows no word."""
    known, read = len(tokenizer), getattr(config, "vocab_size", None) or 0
    if 2 * known < read:
        msg = (
            f"the tokenizer of {model_id!r} in {folder} knows {known} tokens, the model {read}: a file is missing, "
            "such as tokenizer.json, vocab.txt or sentencepiece.bpe.model"
        )
        raise ModelDamagedError(msg)


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers would read, in its order of preference."""
    for name in _WEIGHTS:
        path = folder / name
        if path.is_file():
            shards = read_json(path)["weight_map"].values() if path.suffix == ".json" else [name]
            return [folder / shard for shard in sorted(set(shards))]
    msg = f"it has no weights: none of {', '.join(_WEIGHTS)}"
    raise FileNotFoundError(msg)


def weight_names(path: Path) -> list[str]:
    """The names of the tensors in a file of weights."""
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


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def reason(error: Exception) -> str:
    """The error's kind and first line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ": ".join([type(error).__name__, *said.strip().splitlines()[:1]])
