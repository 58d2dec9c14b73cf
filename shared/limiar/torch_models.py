"""What every torch model of limiar needs on its way in: a device, a length, a token for padding, and quiet."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from limiar.errors import ConfigurationError, ModelError
from limiar.hub_files import reason

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_LENGTH = 32
DEFAULT_LENGTH = 512
"""For models that state no maximum."""

_NO_LIMIT = 1_000_000


def check_device(device: str | None) -> None:
    """Refuse a device that torch cannot use here; None is any."""
    import torch

    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        msg = f"device={device!r} cannot be used here ({reason(error)}); expected 'cpu', 'cuda', 'mps' or None"
        raise ConfigurationError(msg) from error


def set_padding(tokenizer: Any, config: Any, model_id: str) -> None:
    """Batches need padding; a tokenizer without a token for it pads with its end of sequence."""
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            msg = f"the tokenizer of {model_id!r} has neither a pad_token nor an eos_token; batches need one of them"
            raise ModelError(msg)
        tokenizer.pad_token = tokenizer.eos_token
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id


def readable_length(tokenizer: Any, network: Any, asked: int | None, model_id: str, usual: int | None = None) -> int:
    """Tokens that the model reads at once: what the caller asked for, the usual number, or all that it can read.

    Raises:
        ConfigurationError: the caller asked for more than it can read.
    """
    positions = getattr(network.config, "max_position_embeddings", None) or 0
    embeddings = getattr(getattr(network, "base_model", None), "embeddings", None)
    padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    if padding is not None:  # RoBERTa's positions start after that of the padding
        positions -= padding + 1
    limit = min(tokenizer.model_max_length or _NO_LIMIT, positions if positions > 0 else _NO_LIMIT)
    if limit >= _NO_LIMIT:
        return asked or usual or DEFAULT_LENGTH
    if asked is not None and asked > limit:
        msg = f"max_length={asked}, but {model_id!r} reads at most {limit} tokens"
        raise ConfigurationError(msg)
    return int(asked or min(usual or limit, limit))


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers' bar for loading weights off the screen, for this thread only."""
    from transformers.utils import logging as transformers_logging

    set_hook = getattr(transformers_logging, "set_tqdm_hook", None)
    if set_hook is None:  # transformers 4 draws none
        yield
        return
    thread = threading.get_ident()
    previous = None

    def hook(factory: Any, args: Any, kwargs: Any) -> Any:
        if threading.get_ident() == thread:
            return factory(*args, **{**kwargs, "disable": True})
        return factory(*args, **kwargs) if previous is None else previous(factory, args, kwargs)

    previous = set_hook(hook)
    try:
        yield
    finally:
        set_hook(previous)


@contextmanager
def no_loading_report() -> Iterator[None]:
    """Keep transformers' list of missing and unexpected weights out of the log, for this thread only.

    For callers that check the weights themselves.
    """
    thread = threading.get_ident()

    def of_another_thread(record: logging.LogRecord) -> bool:
        return record.thread != thread

    reporters = [logging.getLogger(f"transformers.{name}") for name in ("modeling_utils", "utils.loading_report")]
    for reporter in reporters:
        reporter.addFilter(of_another_thread)
    try:
        yield
    finally:
        for reporter in reporters:
            reporter.removeFilter(of_another_thread)
