"""Scores with a Hugging Face cross-encoder, by sentence-transformers."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from limiar.errors import ConfigurationError, MissingExtraError, ModelDamagedError, ModelError
from limiar.hub_files import check_tokenizer, locate, reason
from limiar.inputs import encodable
from limiar.scoring.cross_encoder_files import EXAMPLES, check_files, check_head
from limiar.scoring.protocol import Scores
from limiar.selection import check_choice, check_count
from limiar.torch_models import MIN_LENGTH, check_device, no_progress_bar, readable_length, set_padding

if TYPE_CHECKING:
    from collections.abc import Sequence

LongDocuments = Literal["window", "truncate"]
LONG_DOCUMENTS: tuple[str, ...] = get_args(LongDocuments)

MAX_WINDOWS = 64
"""A passage is read in so many windows at most: some 16,000 tokens for a model of 512. What follows is left out."""

_SLACK = 4  # tokens: a window's text can split into a few more tokens than it had within the passage

_NEGATIVE_LABELS = frozenset({"0", "label_0", "no", "não", "false", "negative", "contradiction"})


class CrossEncoderScorer:
    """Scores with any Hugging Face cross-encoder; needs `limiar[torch]`.

    Returns raw logits, whatever activation the model's configuration declares. A model with two classes gives their
    log-odds, `logit[positive] - logit[negative]`, so that the core's sigmoid equals the softmax probability.

    The constructor only checks and stores. The model is loaded at the first use or by `warm_up()`, once, however many
    threads ask. Scoring is serialised: a tokenizer and its model serve one call at a time.

    Long passages: the model reads `max_length` tokens of query and passage together. A longer passage is read in
    windows that overlap by half, and its best window counts (MaxP); beyond `MAX_WINDOWS` windows the rest is left out.
    A query keeps at most three quarters of `max_length`, so that a quarter is left for the passage. Whatever lost text,
    by either rule or by "truncate", is in the `truncated` of the returned `Scores`.

    Args:
        model: a Hugging Face id, or a folder. What exists as a folder never goes to the hub.
        device: "cpu", "cuda", "cuda:1", "mps"...; None takes a GPU where there is one.
        batch_size: pairs scored at a time.
        max_length: tokens of query and passage together; None takes the model's own maximum.
        long_documents: "window", or "truncate" to read only the first window.
        positive_label: for a model with two classes, the one that means relevant: 0 or 1. None reads it from the
            labels ("not relevant" and "relevant", "contradiction" and "entailment"; class 1 of unnamed ones).
        revision: a branch, tag or commit on the hub.
        trust_remote_code: run Python code that the model's repository brings.

    Raises:
        ConfigurationError: a value is out of its range; or, when the model is loaded, it does not fit the model.

    Example:
        ```python
        from limiar.rerank import Reranker
        from limiar.scoring.cross_encoder import CrossEncoderScorer

        reranker = Reranker(CrossEncoderScorer("cross-encoder/ms-marco-MiniLM-L-6-v2"))
        ```
    """

    scale: Literal["logit"] = "logit"

    def __init__(
        self,
        model: str,
        *,
        device: str | None = None,
        batch_size: int = 32,
        max_length: int | None = None,
        long_documents: LongDocuments = "window",
        positive_label: int | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            msg = f"model={model!r}; expected a Hugging Face id such as {EXAMPLES}, or a folder"
            raise ConfigurationError(msg)
        check_count("batch_size", batch_size, 1)
        if max_length is not None:
            check_count("max_length", max_length, MIN_LENGTH)
        if positive_label is not None:
            check_count("positive_label", positive_label, 0, 1)
        check_choice("long_documents", long_documents, LONG_DOCUMENTS)
        self.model_id = model
        self.batch_size = batch_size
        self.max_length = max_length
        self.long_documents: LongDocuments = long_documents
        self.positive_label = positive_label
        self.revision = revision
        self.trust_remote_code = trust_remote_code
        self._device = device
        self._engine: _Engine | None = None
        self._loading = threading.Lock()
        self._scoring = threading.Lock()

    @property
    def device(self) -> str | None:
        """Where the model is; before it is loaded, the device that was asked for."""
        return self._device if self._engine is None else str(self._engine.model.device)

    def warm_up(self) -> None:
        """Load the model now.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            ModelNotFoundError: there is no such model, or the hub cannot be reached.
            ModelDamagedError: the model's files cannot be read.
            ModelError: it is not a cross-encoder, or cannot be loaded for another reason.
            ConfigurationError: a parameter does not fit the model or the machine.
        """
        self._loaded()

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """The logit of each text, in the order of `texts`."""
        if not texts:
            return Scores([])
        engine = self._loaded()
        with self._scoring:
            limit = MAX_WINDOWS if self.long_documents == "window" else 1
            plan = engine.plan(encodable(query), [encodable(text) for text in texts], limit)
            logits = engine.logits(plan.pairs, self.batch_size)
        best = np.full(len(texts), -np.inf)
        np.maximum.at(best, plan.owners, logits)
        return Scores(best.tolist(), plan.truncated)

    def _loaded(self) -> _Engine:
        if self._engine is None:
            with self._loading:
                if self._engine is None:
                    self._engine = self._load()
        return self._engine

    def _load(self) -> _Engine:
        try:
            import sentence_transformers  # noqa: F401
        except ImportError as error:
            feature = "CrossEncoderScorer"
            raise MissingExtraError(feature, "torch") from error
        check_device(self._device)
        folder = locate(self.model_id, self.revision, "leave the model out to use the bundled scorer")
        weights = check_files(folder, self.model_id)
        model = self._open(folder)
        check_head(model, weights, self.model_id)
        check_tokenizer(model.tokenizer, model.config, folder, self.model_id)
        set_padding(model.tokenizer, model.config, self.model_id)
        return _Engine(
            model=model,
            length=readable_length(model.tokenizer, model.model, self.max_length, self.model_id),
            positive=_positive_label(model, self.positive_label, self.model_id),
        )

    def _open(self, folder: Path) -> Any:
        from safetensors import SafetensorError
        from sentence_transformers import CrossEncoder

        try:
            with no_progress_bar():
                return CrossEncoder(
                    str(folder),
                    device=self._device,
                    trust_remote_code=self.trust_remote_code,
                    local_files_only=not self.trust_remote_code,
                )
        except (OSError, EOFError, json.JSONDecodeError, SafetensorError) as error:
            msg = f"the files of {self.model_id!r} in {folder} cannot be read ({reason(error)})"
            raise ModelDamagedError(msg) from error
        except Exception as error:
            msg = f"{self.model_id!r} cannot be loaded from {folder} ({reason(error)})"
            raise ModelError(msg) from error


@dataclass(frozen=True)
class _Plan:
    """What to score: `pairs[i]` is a window of the text at `owners[i]`."""

    pairs: list[tuple[str, str]]
    owners: list[int]
    truncated: set[int]


class _Engine:
    """A loaded model. Not safe for threads: a fast tokenizer keeps its truncation and padding as state."""

    def __init__(self, model: Any, length: int, positive: int | None) -> None:
        self.model = model
        self.tokenizer = model.tokenizer
        self.length = length
        self.positive = positive
        self.tokenizer.model_max_length = length
        self.overhead = _pair_length(model, "a", "a") - sum(self._counts(["a", "a"]))
        if self.overhead > length // 2:
            msg = f"max_length={length} is too short: the model's own tokens and prompt take {self.overhead} of them"
            raise ConfigurationError(msg)

    def plan(self, query: str, texts: Sequence[str], limit: int) -> _Plan:
        """Cut the query and the texts into pairs that the model can read whole."""
        query, query_cut, room = self._fit_query(query)
        plan = _Plan([], [], set(range(len(texts))) if query_cut else set())
        for position, (text, count) in enumerate(zip(texts, self._counts(texts), strict=True)):
            windows, cut = [text], count > room
            if cut and self.tokenizer.is_fast:
                windows, cut = self._windows(text, room - _SLACK, limit)
            plan.pairs.extend((query, window) for window in windows)
            plan.owners.extend([position] * len(windows))
            if cut:
                plan.truncated.add(position)
        return plan

    def logits(self, pairs: list[tuple[str, str]], batch_size: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """One logit for each pair, in float64 from float32."""
        import torch

        outputs: Any = self.model.predict(
            pairs,
            batch_size=batch_size,
            show_progress_bar=False,
            activation_fn=torch.nn.Identity(),
            apply_softmax=False,
            convert_to_tensor=True,
        )
        values = outputs.float().cpu().numpy().astype(np.float64).reshape(len(pairs), -1)
        if self.positive is None:
            return values[:, 0]  # type: ignore[no-any-return]
        return values[:, self.positive] - values[:, 1 - self.positive]  # type: ignore[no-any-return]

    def _fit_query(self, query: str) -> tuple[str, bool, int]:
        """The query, whether it lost text, and how many tokens are left for a passage."""
        (count,) = self._counts([query])
        most = self.length - self.overhead - self.length // 4
        if count <= most:
            return query, False, self.length - self.overhead - count
        if self.tokenizer.is_fast:
            offsets, _ = self._tokens(query)
            query = query[: offsets[most - _SLACK][0]]
        return query, True, self.length // 4

    def _windows(self, text: str, room: int, limit: int) -> tuple[list[str], bool]:
        """At most `limit` windows of `text`, and whether they leave some of it out."""
        offsets, words = self._tokens(text)
        spans = window_spans(words, room)
        windows = [text[offsets[start][0] : offsets[end - 1][1]] for start, end in spans[:limit]]
        return windows, len(spans) > limit

    def _counts(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._encoded(list(texts))["input_ids"]]

    def _tokens(self, text: str) -> tuple[list[tuple[int, int]], list[int | None]]:
        """For each token of `text`: its place in it, and the number of its word."""
        encoded = self._encoded(text, return_offsets_mapping=True)
        return encoded["offset_mapping"], encoded.word_ids()

    def _encoded(self, texts: str | list[str], **options: bool) -> Any:
        """Bare and whole, without the warning that they are long."""
        return self.tokenizer(
            texts, add_special_tokens=False, padding=False, truncation=False, verbose=False, **options
        )


def window_spans(words: Sequence[int | None], room: int) -> list[tuple[int, int]]:
    """Spans of at most `room` tokens that cover a passage and overlap by half; the last one ends with the passage.

    Args:
        words: for each token, the number of its word. A span starts with a word where one starts near by.
        room: tokens in a window.
    """
    count = len(words)
    stride = max(1, room // 2)
    starts = [*range(0, max(1, count - room), stride), max(0, count - room)]
    spans = []
    for start in dict.fromkeys(starts):
        near = range(start, min(start + stride // 2 + 1, count))
        first = next((place for place in near if place == 0 or words[place] != words[place - 1]), start)
        spans.append((first, min(start + room, count)))
    return spans


def _pair_length(model: Any, query: str, text: str) -> int:
    """Tokens of a pair as the model reads it, with its special tokens, prompt and template."""
    preprocess = getattr(model, "preprocess", None)
    if preprocess is None:  # sentence-transformers 5
        return len(model.tokenizer([(query, text)])["input_ids"][0])
    prompt = model.prompts.get(model.default_prompt_name) if model.default_prompt_name else None
    return int(preprocess([(query, text)], prompt=prompt)["input_ids"].shape[-1])


def _positive_label(model: Any, asked: int | None, model_id: str) -> int | None:
    """The class that means relevant, of a model with two; None for a model with one output."""
    count = getattr(model, "num_labels", None) or model.config.num_labels
    if count == 1:
        if asked is not None:
            msg = f"positive_label={asked}, but {model_id!r} has one output and no classes"
            raise ConfigurationError(msg)
        return None
    labels = [str(model.config.id2label.get(place, place)) for place in range(count)]
    if count > 2:
        msg = (
            f"{model_id!r} has {count} classes ({', '.join(labels)}); expected a relevance model with one output or "
            f"two classes, such as {EXAMPLES}"
        )
        raise ConfigurationError(msg)
    positive = positive_of(labels) if asked is None else asked
    if positive is None:
        msg = f"which class of {model_id!r} means relevant? Its labels are {labels}: give positive_label=0 or 1"
        raise ConfigurationError(msg)
    return positive


def positive_of(labels: Sequence[str]) -> int | None:
    """The position of the label that means relevant, of two; None if they do not say.

    The other is a known negative ("no", "contradiction", "LABEL_0"...) or contains it ("not relevant", "irrelevant").
    """
    first, second = (label.strip().lower() for label in labels)
    if first != second:
        if first in _NEGATIVE_LABELS or first.endswith(second):
            return 1
        if second in _NEGATIVE_LABELS or second.endswith(first):
            return 0
    return None
