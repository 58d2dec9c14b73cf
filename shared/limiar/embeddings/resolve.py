"""From what a caller names to an encoder."""

from __future__ import annotations

from typing import Any

from limiar.embeddings.protocol import Encoder
from limiar.errors import ConfigurationError


def choose_encoder(
    model: str | None, encoder: Encoder | None, *, pooling: str | None = None, device: str | None = None
) -> Encoder:
    """The encoder for an adapter's fields.

    Args:
        model: a Hugging Face encoder by id or folder.
        encoder: an encoder instead of a model. Neither: the bundled one that the whole process shares.
        pooling: "mean" or "cls", for a named model; None for "mean".
        device: "cpu", "cuda", "cuda:0" ... for a named model; None takes a GPU where there is one.

    Raises:
        ConfigurationError: both are given, or neither and something meant for a model, or it is no encoder.
    """
    if model is not None and encoder is not None:
        msg = f"model={model!r} and encoder={type(encoder).__name__} are both given; expected one of them"
        raise ConfigurationError(msg)
    meant: dict[str, Any] = {"pooling": pooling, "device": device}
    given = {name: value for name, value in meant.items() if value is not None}
    if model is not None:
        from limiar.embeddings.huggingface import HuggingFaceEncoder

        return HuggingFaceEncoder(model, **given)
    if given:
        name, value = next(iter(given.items()))
        msg = f"{name}={value!r} is for a named Hugging Face model; none is named, so leave it out"
        raise ConfigurationError(msg)
    if encoder is None:
        from limiar.embeddings.bundled import shared_encoder

        return shared_encoder()
    if isinstance(encoder, type) or not callable(getattr(encoder, "embed_documents", None)):
        msg = f"encoder is {type(encoder).__name__}; expected an object with embed_query and embed_documents"
        raise ConfigurationError(msg)
    return encoder


def warm_up(encoder: Encoder) -> None:
    """Load what the encoder has to load, if anything."""
    load = getattr(encoder, "warm_up", None)
    if load is not None:
        load()
