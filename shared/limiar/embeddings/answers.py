"""Reads what an embeddings API answered, and refuses what is not one usable vector for each text."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np

from limiar.embeddings.protocol import FloatArray
from limiar.errors import EncoderError


def read_vectors(answer: Any, count: int, dimensions: int | None, server: str) -> FloatArray:
    """The vectors of an answer in the order of the texts: float32 (count, dimensions).

    Args:
        answer: the answer's JSON.
        count: how many texts were sent.
        dimensions: how long each vector must be; None to accept one length for all.
        server: who answered, for the message.

    Raises:
        EncoderError: a vector is missing, too many, of another length, or not of finite numbers.
    """
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        msg = f"{server} gave an answer without a list of vectors"
        raise EncoderError(msg)
    if len(data) != count:
        msg = f"{server} gave {len(data)} vectors for {count} texts"
        raise EncoderError(msg)
    rows = {item.get("index"): item.get("embedding") for item in data if type(item.get("index")) is int}
    if set(rows) != set(range(count)):
        msg = f"{server} gave vectors whose indices are not those of the {count} texts"
        raise EncoderError(msg)
    vectors = [_vector(rows[index], server) for index in range(count)]
    return _checked(vectors, dimensions or len(vectors[0]), server)


def _checked(vectors: list[FloatArray], dimensions: int, server: str) -> FloatArray:
    for position, vector in enumerate(vectors):
        if len(vector) != dimensions or not dimensions:
            msg = (
                f"{server} gave a vector of {len(vector)} numbers for text {position}; expected {dimensions or 'some'}"
            )
            raise EncoderError(msg)
        if not np.isfinite(vector).all():
            msg = f"{server} gave a vector that is not finite for text {position}"
            raise EncoderError(msg)
    return np.stack(vectors)


def _vector(value: object, server: str) -> FloatArray:
    try:
        if isinstance(value, str):
            return np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float32)
        if isinstance(value, list) and all(type(number) in (int, float) for number in value):
            with np.errstate(over="ignore"):  # infinity is refused with the rest
                return np.array(value, np.float64).astype(np.float32)
    except (ValueError, OverflowError, binascii.Error) as error:
        msg = f"{server} gave a vector that cannot be read ({type(error).__name__})"
        raise EncoderError(msg) from error
    msg = f"{server} gave a vector that is neither numbers nor base64"
    raise EncoderError(msg)
