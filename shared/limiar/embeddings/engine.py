"""Runs the bundled encoder with OpenVINO on batches of token ids."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from limiar.embeddings.openvino_import import import_openvino
from limiar.errors import ModelDamagedError

if TYPE_CHECKING:
    import openvino

FloatArray = npt.NDArray[np.float32]
TokenIds = Sequence[int]

# Measured: larger batches gain nothing. Smaller ones, down to the lower bound, let a short job use every stream.
_TOKENS_PER_BATCH = 1024
_LEAST_TOKENS_PER_BATCH = 64


class EncoderEngine:
    """Token ids in, last hidden states out. Thread-safe; one batch job runs at a time, single texts beside it.

    Args:
        path: the OpenVINO IR (`encoder.xml`, with `encoder.bin` beside it).
        pad_id: the id of the padding piece.
        device: an OpenVINO device name.

    Raises:
        ModelDamagedError: OpenVINO cannot read the files.
    """

    def __init__(self, path: Path, pad_id: int, device: str = "CPU") -> None:
        runtime = import_openvino()
        streams = min(8, os.cpu_count() or 1)
        try:
            self._compiled: openvino.CompiledModel = runtime.Core().compile_model(
                str(path), device, {"NUM_STREAMS": str(streams)} if device == "CPU" else {}
            )
        except RuntimeError as error:
            msg = f"OpenVINO cannot load {path} on {device}; reinstall limiar, or rebuild it: limiar model build"
            raise ModelDamagedError(msg) from error
        self._pad_id = pad_id
        self._streams = streams
        self._queue = runtime.AsyncInferQueue(self._compiled, streams)
        self._queue_lock = threading.Lock()
        self._local = threading.local()

    def encode(self, texts: Sequence[TokenIds], progress: Callable[[int], None] | None = None) -> list[FloatArray]:
        """The hidden states of each text, float32 (tokens, hidden).

        Up to rounding, they do not depend on which texts share a batch.

        Args:
            texts: token ids, special ones included; none empty, none longer than the encoder's positions.
            progress: called with the number of texts done, after each batch.
        """
        if len(texts) == 1:
            return [self._encode_one(texts[0])]
        results: list[FloatArray] = [np.empty((0, 0), np.float32)] * len(texts)
        failures: list[BaseException] = []

        def collect(request: openvino.InferRequest, batch: list[int]) -> None:
            try:
                hidden = request.get_output_tensor(0).data
                for row, index in enumerate(batch):
                    results[index] = hidden[row, : len(texts[index])].copy()
                if progress is not None:
                    progress(len(batch))
            except BaseException as error:  # an exception in a callback would end the process
                failures.append(error)

        with self._queue_lock:
            self._queue.set_callback(collect)
            try:
                for batch in _batches(texts, self._streams):
                    self._queue.start_async(self._inputs([texts[index] for index in batch]), batch)
            finally:  # after Ctrl-C, too: a callback into an interpreter that ends aborts the process
                self._queue.wait_all()
        if failures:
            raise failures[0]
        return results

    def _encode_one(self, ids: TokenIds) -> FloatArray:
        request: openvino.InferRequest | None = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        request.infer(self._inputs([ids]))
        hidden: FloatArray = request.get_output_tensor(0).data[0].copy()
        return hidden

    def _inputs(self, texts: Sequence[TokenIds]) -> list[npt.NDArray[np.int32]]:
        longest = max(map(len, texts))
        ids = np.full((len(texts), longest), self._pad_id, np.int32)
        mask = np.zeros((len(texts), longest), np.int32)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        return [ids, mask]


def _batches(texts: Sequence[TokenIds], streams: int) -> Iterator[list[int]]:
    """Positions grouped by similar length, so that little is spent on padding, and at least one group a stream."""
    fair_share = sum(map(len, texts)) // (4 * streams)
    budget = min(_TOKENS_PER_BATCH, max(_LEAST_TOKENS_PER_BATCH, fair_share))
    batch: list[int] = []
    for index in sorted(range(len(texts)), key=lambda i: len(texts[i])):
        if batch and (len(batch) + 1) * len(texts[index]) > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
