"""The options that name an encoder, and whether it is the one that an index was made with."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from limiar.errors import ConfigurationError

if TYPE_CHECKING:
    from limiar.embeddings.engine import FloatArray
    from limiar.embeddings.protocol import Encoder

_OPENAI = "openai:"


def add_encoder_options(parser: argparse.ArgumentParser) -> None:
    """Add `--encoder` and `--pooling`."""
    group = parser.add_argument_group("encoder", "What makes the vectors; always the one that the index was made with.")
    group.add_argument(
        "--encoder",
        metavar="NAME",
        help="a Hugging Face encoder, such as BAAI/bge-m3, or openai:text-embedding-3-small, which sends the texts to "
        "OpenAI (default: the one inside limiar)",
    )
    group.add_argument("--pooling", choices=("mean", "cls"), help="of a Hugging Face encoder (default: mean)")


def chosen_encoder(name: str | None, pooling: str | None) -> Encoder:
    """The encoder that the options name. A model is not loaded yet.

    Raises:
        ConfigurationError: there can be no such encoder, or `pooling` is not for it.
    """
    from limiar.embeddings.resolve import choose_encoder

    if name is None or not name.startswith(_OPENAI):
        return choose_encoder(name, None, pooling=pooling)
    if pooling is not None:
        msg = f"--pooling {pooling} is for a Hugging Face model; leave it out with {name}"
        raise ConfigurationError(msg)
    from limiar.embeddings.openai_api import OpenAIEncoder

    return OpenAIEncoder(name.removeprefix(_OPENAI))


def check_encoder(folder: Path, encoder: Encoder) -> Encoder:
    """`encoder` itself, if it made the index in `folder`.

    Raises:
        ConfigurationError: another one did; the message says how to name that one.
        StoreError: there is no index, or its manifest cannot be read.
    """
    made_with = saved_encoder(folder).model_id
    if made_with != encoder.model_id:
        msg = f"{folder} was made with the encoder {made_with}, not {encoder.model_id}; {_how_to_name(made_with)}"
        raise ConfigurationError(msg)
    return encoder


def saved_encoder(folder: Path) -> NameOnly:
    """The name of the encoder that made an index, for work that needs no vectors.

    Raises:
        StoreError: there is no index, or its manifest cannot be read.
    """
    from limiar.retrieval.index_settings import FORMAT, FORMAT_VERSION
    from limiar.retrieval.store import read_manifest

    return NameOnly(str(read_manifest(folder, FORMAT, FORMAT_VERSION).get("encoder")))


class NameOnly:
    """An encoder in name: it makes no vectors."""

    dimensions = 0

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id

    def embed_query(self, text: str) -> FloatArray:
        return self.embed_documents([text])

    def embed_documents(self, texts: object, *, progress: object = None) -> FloatArray:  # noqa: ARG002
        msg = f"{self.model_id} is known by name only here, so that nothing can be embedded"
        raise ConfigurationError(msg)


def _how_to_name(model_id: str) -> str:
    from limiar.embeddings.openai_api import DIMENSIONS

    model, _, pooling = model_id.partition(":")
    if model_id.startswith("limiar/"):
        return "leave --encoder out"
    if model_id in DIMENSIONS:
        return f"use --encoder {_OPENAI}{model_id}"
    if pooling in ("mean", "cls"):
        return f"use --encoder {model} --pooling {pooling}"
    return "open it in Python, with that encoder"
