"""Embeds with any Hugging Face encoder, by transformers: mean or CLS pooling of the last hidden state."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from limiar.embeddings.protocol import FloatArray, Progress
from limiar.errors import ConfigurationError, EncoderError, MissingExtraError, ModelDamagedError, ModelError
from limiar.hub_files import check_tokenizer, locate, read_json, reason, weight_files, weight_names
from limiar.inputs import check_texts, encodable
from limiar.selection import check_choice, check_count
from limiar.torch_models import (
    MIN_LENGTH,
    check_device,
    no_loading_report,
    no_progress_bar,
    readable_length,
    set_padding,
)

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("limiar")

Pooling = Literal["mean", "cls"]
LongTexts = Literal["window", "truncate"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
LONG_TEXTS: tuple[str, ...] = get_args(LongTexts)

MAX_WINDOWS = 64
"""A text is read in so many windows at most. What follows is left out, and the log says so."""

_EXAMPLES = "sentence-transformers/paraphrase-multilingual-mpnet-base-v2 or neuralmind/bert-base-portuguese-cased"
_TEXTS_PER_ROUND = 2048
_UNUSED = "pooler."  # a head on the CLS token that neither pooling reads
_PLAIN_MODULES = ("Transformer", "Pooling", "Normalize")


class HuggingFaceEncoder:
    """Sentence vectors from any Hugging Face encoder; needs `limiar[torch]`.

    The constructor only checks and stores. The model is loaded at the first use or by `warm_up()`, once, however many
    threads ask. Batches are made of texts of similar length; threads take turns by the batch, so a query does not wait
    for a large job to end.

    Long texts are read in windows of `max_length` tokens, side by side, at most `MAX_WINDOWS` of them, and averaged by
    their number of tokens; "truncate" reads the first window only. Texts that lost their end, by either rule, are
    named by their position in a warning, and `loses_text()` tells ahead.

    Args:
        model: a Hugging Face id, or a folder. What exists as a folder never goes to the hub.
        pooling: "mean" of all tokens' last hidden states, or that of the first token, "cls". Use the one that the
            model was trained with; a model that declares another one is reported in the log.
        normalize: scale each vector to length 1.
        device: "cpu", "cuda", "cuda:1", "mps"...; None takes a GPU where there is one.
        batch_size: windows read at a time.
        max_length: tokens of a window, special ones included; None takes what the model declares for sentences, or
            else its maximum.
        long_texts: "window" or "truncate".
        query_prefix: put before each query, such as "query: " for E5.
        document_prefix: put before each document, such as "passage: " for E5.
        revision: a branch, tag or commit on the hub.
        trust_remote_code: run Python code that the model's repository brings.

    Raises:
        ConfigurationError: a value is out of its range; or, when the model is loaded, it does not fit the model.

    Example:
        ```python
        from limiar import HuggingFaceEncoder

        encoder = HuggingFaceEncoder("sentence-transformers/paraphrase-multilingual-mpnet-base-v2", pooling="mean")
        vectors = encoder.embed_documents(["Lei 14.133/2021, art. 75", "Receita de bolo"])
        ```
    """

    def __init__(
        self,
        model: str,
        *,
        pooling: Pooling = "mean",
        normalize: bool = True,
        device: str | None = None,
        batch_size: int = 32,
        max_length: int | None = None,
        long_texts: LongTexts = "window",
        query_prefix: str = "",
        document_prefix: str = "",
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            msg = f"model={model!r}; expected a Hugging Face id such as {_EXAMPLES}, or a folder"
            raise ConfigurationError(msg)
        check_choice("pooling", pooling, POOLINGS)
        check_choice("long_texts", long_texts, LONG_TEXTS)
        check_count("batch_size", batch_size, 1)
        if max_length is not None:
            check_count("max_length", max_length, MIN_LENGTH)
        self.model = model
        self.pooling: Pooling = pooling
        self.normalize = normalize
        self.batch_size = batch_size
        self.max_length = max_length
        self.long_texts: LongTexts = long_texts
        self.query_prefix = query_prefix
        self.document_prefix = document_prefix
        self.revision = revision
        self.trust_remote_code = trust_remote_code
        self._device = device
        self._engine: _Engine | None = None
        self._loading = threading.Lock()

    @property
    def model_id(self) -> str:
        """The model and everything else that its vectors depend on, such as "BAAI/bge-m3:cls"."""
        parts = [
            self.model if self.revision is None else f"{self.model}@{self.revision}",
            self.pooling,
            "" if self.normalize else "unnormalized",
            "" if self.max_length is None else f"max_length={self.max_length}",
            "" if self.long_texts == "window" else self.long_texts,
            f"query={self.query_prefix!r}" if self.query_prefix else "",
            f"document={self.document_prefix!r}" if self.document_prefix else "",
        ]
        return ":".join(part for part in parts if part)

    @property
    def dimensions(self) -> int:
        """The hidden size of the model, which is loaded if it was not yet."""
        return self._loaded().dimensions

    @property
    def device(self) -> str | None:
        """Where the model is; before it is loaded, the device that was asked for."""
        return self._device if self._engine is None else str(self._engine.device)

    def warm_up(self) -> None:
        """Load the model now.

        Raises:
            MissingExtraError: transformers or torch is not installed.
            ModelNotFoundError: there is no such model, or the hub cannot be reached.
            ModelDamagedError: the model's files cannot be read, or lack a part of it.
            ModelError: it is not an encoder, or cannot be loaded for another reason.
            ConfigurationError: a parameter does not fit the model or the machine.
        """
        self._loaded()

    def embed_query(self, text: str) -> FloatArray:
        """The vector of a query: float32 (dimensions,)."""
        vector: FloatArray = self._embed([text], self.query_prefix, None)[0]
        return vector

    def embed_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> FloatArray:
        """The vectors of documents: float32 (len(texts), dimensions).

        Args:
            texts: documents; a blank one gets the vector of an empty text.
            progress: called with (done, total) after each batch.

        Raises:
            InputTypeError: a text is not a string.
            EncoderError: the model ran out of memory, or gave a vector that is not finite.
        """
        return self._embed(texts, self.document_prefix, progress)

    def loses_text(self, texts: Sequence[str]) -> list[int]:
        """The positions of the documents that are too long to be read to their end."""
        plan = self._loaded().plan(check_texts(texts), self.document_prefix, self._window_limit)
        return sorted(plan.truncated)

    @property
    def _window_limit(self) -> int:
        return MAX_WINDOWS if self.long_texts == "window" else 1

    def _embed(self, texts: Sequence[str], prefix: str, progress: Progress | None) -> FloatArray:
        checked = check_texts(texts)
        engine = self._loaded()
        vectors = np.empty((len(checked), engine.dimensions), np.float32)
        truncated: list[int] = []
        for start in range(0, len(checked), _TEXTS_PER_ROUND):
            part = checked[start : start + _TEXTS_PER_ROUND]
            plan = engine.plan(part, prefix, self._window_limit)
            truncated += [start + position for position in sorted(plan.truncated)]
            done = _Counted(plan.owners, start, len(checked), progress)
            vectors[start : start + len(part)] = engine.pooled(plan, len(part), self.pooling, self.batch_size, done)
        if truncated:
            logger.warning("%s read only the beginning of %d texts: %s", self.model_id, len(truncated), truncated)
        return self._finished(vectors)

    def _finished(self, vectors: FloatArray) -> FloatArray:
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            msg = f"{self.model_id} gave a vector that is not finite for text {broken[0]} ({len(broken)} in all)"
            raise EncoderError(msg)
        if self.normalize:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def _loaded(self) -> _Engine:
        if self._engine is None:
            with self._loading:
                if self._engine is None:
                    self._engine = self._load()
        return self._engine

    def _load(self) -> _Engine:
        try:
            import torch
            import transformers  # noqa: F401
        except ImportError as error:
            feature = "HuggingFaceEncoder"
            raise MissingExtraError(feature, "torch") from error
        check_device(self._device)
        folder = locate(self.model, self.revision, "use BundledEncoder")
        declared = _check_files(folder, self.model)
        declared.report(self.model, self.pooling)
        tokenizer, network = self._open(declared.folder)
        check_tokenizer(tokenizer, network.config, folder, self.model)
        set_padding(tokenizer, network.config, self.model)
        length = readable_length(tokenizer, network, self.max_length, self.model, declared.length)
        return _Engine(tokenizer, network.to(torch.device(self._device or _best_device())), length, self.model)

    def _open(self, folder: Path) -> tuple[Any, Any]:
        """The tokenizer, and the network in float32 without dropout."""
        from safetensors import SafetensorError
        from transformers import AutoModel, AutoTokenizer

        source = {"trust_remote_code": self.trust_remote_code, "local_files_only": not self.trust_remote_code}
        try:
            with no_progress_bar(), no_loading_report():
                tokenizer = AutoTokenizer.from_pretrained(str(folder), **source)
                network, info = AutoModel.from_pretrained(str(folder), output_loading_info=True, **source)
        except (OSError, EOFError, SafetensorError, UnicodeDecodeError) as error:
            msg = f"the files of {self.model!r} in {folder} cannot be read ({reason(error)})"
            raise ModelDamagedError(msg) from error
        except Exception as error:
            msg = f"{self.model!r} cannot be loaded from {folder} ({reason(error)})"
            raise ModelError(msg) from error
        _check_network(network, info, self.model)
        return tokenizer, network.float().eval()


@dataclass(frozen=True)
class _Declared:
    """What a sentence-transformers checkpoint says about itself: where its network is, how it was pooled and cut."""

    folder: Path
    pooling: str | None = None
    length: int | None = None
    others: tuple[str, ...] = ()

    def report(self, model: str, pooling: Pooling) -> None:
        if self.pooling not in (None, pooling):
            logger.warning("%s was made for pooling=%r; it is used with %r", model, self.pooling, pooling)
        if self.others:
            logger.warning("%s has layers that HuggingFaceEncoder leaves out: %s", model, ", ".join(self.others))


@dataclass(frozen=True)
class _Plan:
    """What to read: `windows[i]`, token ids with the special ones, is a part of the text at `owners[i]`."""

    windows: list[list[int]]
    owners: list[int]
    truncated: set[int]


class _Counted:
    """Counts texts, of which a window at a time is done."""

    def __init__(self, owners: Sequence[int], done: int, total: int, progress: Progress | None) -> None:
        self._left = np.bincount(owners, minlength=1)
        self._owners = owners
        self._done = done
        self._total = total
        self._progress = progress

    def __call__(self, batch: Sequence[int]) -> None:
        for place in batch:
            self._left[self._owners[place]] -= 1
            self._done += int(self._left[self._owners[place]] == 0)
        if self._progress is not None:
            self._progress(self._done, self._total)


class _Engine:
    """A loaded model. A lock for each of its halves: neither serves two threads at once."""

    def __init__(self, tokenizer: Any, network: Any, length: int, model: str) -> None:
        self.tokenizer = tokenizer
        self.network = network
        self.device: torch.device = network.device
        self.dimensions = int(network.config.hidden_size)
        self._tokenizing = threading.Lock()
        self._running = threading.Lock()
        self._head, self._tail = self._frame(model)
        self._room = length - len(self._head) - len(self._tail)

    def plan(self, texts: Sequence[str], prefix: str, limit: int) -> _Plan:
        """Cut the texts into windows that the model can read whole."""
        plan = _Plan([], [], set())
        lead = self._ids([prefix])[0] if prefix else []
        room = self._room - len(lead)
        if room < self._room // 2:
            msg = f"the prefix takes {len(lead)} of the {self._room} tokens that the model reads; expected at most half"
            raise ConfigurationError(msg)
        for position, ids in enumerate(self._ids([prefix + text for text in texts]) if texts else []):
            parts = [ids]
            if len(ids) > self._room:
                bare = self._ids([texts[position]])[0] if lead else ids
                parts = [lead + bare[start : start + room] for start in range(0, len(bare), room)]
                if len(parts) > limit:
                    plan.truncated.add(position)
            plan.windows.extend([*self._head, *part, *self._tail] for part in parts[:limit])
            plan.owners.extend([position] * len(parts[:limit]))
        return plan

    def pooled(
        self, plan: _Plan, count: int, pooling: Pooling, batch_size: int, done: Callable[[Sequence[int]], None]
    ) -> FloatArray:
        """The vector of each text: that of its window, or the mean over its windows by their length."""
        total = np.zeros((count, self.dimensions), np.float64)
        weight = np.zeros(count)
        for batch in _batches(plan.windows, batch_size):
            windows = [plan.windows[place] for place in batch]
            for place, window, vector in zip(batch, windows, self._run(windows, pooling), strict=True):
                total[plan.owners[place]] += len(window) * vector.astype(np.float64)
                weight[plan.owners[place]] += len(window)
            done(batch)
        vectors: FloatArray = (total / np.maximum(weight, 1)[:, None]).astype(np.float32)
        return vectors

    def _run(self, windows: Sequence[Sequence[int]], pooling: Pooling) -> FloatArray:
        import torch

        longest = max(map(len, windows))
        ids = torch.full((len(windows), longest), int(self.network.config.pad_token_id), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, window in enumerate(windows):
            ids[row, : len(window)] = torch.tensor(window)
            mask[row, : len(window)] = 1
        try:
            with self._running, torch.inference_mode():
                mask = mask.to(self.device)
                hidden = self.network(input_ids=ids.to(self.device), attention_mask=mask).last_hidden_state
                vectors = hidden[:, 0] if pooling == "cls" else _mean(hidden, mask)
                array: FloatArray = vectors.float().cpu().numpy()
        except torch.OutOfMemoryError as error:
            msg = f"{self.device} ran out of memory on {len(windows)} windows of {longest} tokens; lower batch_size"
            raise EncoderError(msg) from error
        return array

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, bare and whole, without the warning that they are many."""
        with self._tokenizing:
            encoded = self.tokenizer(
                [encodable(text) for text in texts],
                add_special_tokens=False,
                padding=False,
                truncation=False,
                verbose=False,
            )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _frame(self, model: str) -> tuple[list[int], list[int]]:
        """The special tokens before a text, and those after it."""
        bare = self._ids(["a"])[0]
        framed = list(self.tokenizer("a")["input_ids"])
        for start in range(len(framed) - len(bare) + 1):
            if framed[start : start + len(bare)] == bare:
                return framed[:start], framed[start + len(bare) :]
        msg = f"the tokenizer of {model!r} puts no special tokens around a text that limiar knows how to handle"
        raise ModelError(msg)


def _mean(hidden: Any, mask: Any) -> Any:
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def _batches(windows: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Positions grouped by similar length, the longest first: what does not fit in memory fails at once."""
    order = sorted(range(len(windows)), key=lambda place: -len(windows[place]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_files(folder: Path, model: str) -> _Declared:
    """Read what the model declares, and check that its weights are whole."""
    from safetensors import SafetensorError

    path = folder
    try:
        declared = _declared(folder)
        for path in [declared.folder / "config.json", *sorted(declared.folder.glob("*.json"))]:
            read_json(path)
        path = declared.folder
        for path in weight_files(declared.folder):
            weight_names(path)
    except (OSError, EOFError, ValueError, RuntimeError, LookupError, TypeError, SafetensorError) as error:
        msg = f"{path} of model {model!r} cannot be read ({reason(error)}); download the model again"
        raise ModelDamagedError(msg) from error
    return declared


def _declared(folder: Path) -> _Declared:
    path = folder / "modules.json"
    if not path.is_file():
        return _Declared(folder)
    modules = {str(module["type"]).rpartition(".")[2]: folder / module["path"] for module in read_json(path)}
    inner = modules.get("Transformer", folder)
    sentence = inner / "sentence_bert_config.json"
    length = read_json(sentence).get("max_seq_length") if sentence.is_file() else None
    others = tuple(kind for kind in modules if kind not in _PLAIN_MODULES)
    return _Declared(inner, _declared_pooling(modules.get("Pooling")), length, others)


def _declared_pooling(folder: Path | None) -> str | None:
    if folder is None or not (folder / "config.json").is_file():
        return None
    config = read_json(folder / "config.json")
    if "pooling_mode" in config:
        return str(config["pooling_mode"])
    modes = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    said = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    return "+".join(modes.get(name, name.removeprefix("pooling_mode_")) for name in said) or None


def _check_network(network: Any, info: Any, model: str) -> None:
    """Refuse what is no encoder, and a network of which a part was filled with random numbers."""
    if getattr(network.config, "is_encoder_decoder", False):
        msg = f"{model!r} is an encoder with a decoder ({type(network).__name__}); expected an encoder alone"
        raise ModelError(msg)
    if getattr(network.config, "hidden_size", None) is None:
        msg = f"{model!r} is a {type(network).__name__}, which has no hidden_size; expected a text encoder"
        raise ModelError(msg)
    missing = sorted(name for name in info["missing_keys"] if not name.startswith(_UNUSED))
    if missing:
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        msg = f"the weights of {model!r} lack {named}; its vectors would be random"
        raise ModelDamagedError(msg)
