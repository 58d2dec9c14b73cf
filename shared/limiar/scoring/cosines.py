"""Products of a query's token vectors with many passage tokens, on the threads that run the encoder.

NumPy's matrix product would do, but its BLAS threads keep spinning after each call and slow the encoder's next one
down (measured: a fifth of the time of a small cold rerank).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from limiar.embeddings.openvino_import import import_openvino

if TYPE_CHECKING:
    import openvino

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.int8]

# A fixed number of rows: OpenVINO prepares its kernels once. 4096 was the fastest of 1024 to 37,000.
_ROWS = 4096


class CosineEngine:
    """Multiplies float32 (queries, size) with int8 (rows, size), transposed. Thread-safe.

    Args:
        size: the length of the vectors.
    """

    def __init__(self, size: int) -> None:
        runtime = import_openvino()
        from openvino import opset13 as ops

        left = ops.parameter([-1, size], np.float32)
        right = ops.parameter([_ROWS, size], np.int8)
        product = ops.matmul(left, ops.convert(right, "f32"), transpose_a=False, transpose_b=True)
        model = runtime.Model([ops.result(product)], [left, right], "cosines")
        settings = {"NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}
        self._compiled: openvino.CompiledModel = runtime.Core().compile_model(model, "CPU", settings)
        self._size = size
        self._local = threading.local()

    def products(self, left: FloatArray, right: Sequence[ByteArray]) -> FloatArray:
        """The dot product of each row of `left` with each row of the joined `right`: float32 (queries, rows)."""
        rows = sum(map(len, right))
        joined = np.zeros((-(-rows // _ROWS) * _ROWS, self._size), np.int8)
        np.concatenate(list(right), out=joined[:rows])
        blocks = [self._block(left, joined[start : start + _ROWS]) for start in range(0, rows, _ROWS)]
        return np.concatenate(blocks, axis=1)[:, :rows]

    def _block(self, left: FloatArray, right: ByteArray) -> FloatArray:
        request: openvino.InferRequest | None = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        request.infer([left, right])
        product: FloatArray = request.get_output_tensor(0).data.copy()
        return product
