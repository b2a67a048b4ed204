"""The layers of an encoder as a graph of OpenVINO, made from the weights that are already loaded.

The graph ends in a matrix product that pools. In bfloat16 OpenVINO computes all that lies between
the last product and a result in float32; without a product at the end these would be the sums and
norms of all layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from embedder.backends.checkpoint import Checkpoint
from embedder.backends.openvino.runtime import ops, ov
from embedder.backends.torch.architectures import EncoderShape

ROWS, SEGMENTS, POOL, BIAS = "rows", "segments", "pool", "bias"
"""The inputs, by their positions in the graph; `BIAS` only of a model with a relative bias."""

_MASKED = np.float32(-1e9)
"""Added to the attention scores of tokens of other inputs; their weight is exactly 0 then."""

_GELU = {"none": "erf", "tanh": "tanh"}


@dataclass(frozen=True, slots=True)
class EncoderGraph:
    """A model, and the tensors whose memory its constants use: they must outlive it."""

    model: ov.Model
    tensors: list[torch.Tensor]


def encoder_graph(shape: EncoderShape, weights: Checkpoint) -> EncoderGraph:
    """Return a graph of all layers and of the pooling.

    Inputs: ``rows`` float32[rows, length, width], the embeddings; ``segments`` int32[rows, length],
    equal for places that attend to each other; ``pool`` float32[rows, pooled, length]; for a model
    with a relative bias ``bias`` float32[1, heads, length, length]. Result: the products of
    ``pool`` and the hidden states, float32[rows, pooled, width]. Weights in memory-mapped files
    are not copied.
    """
    rows = ops.parameter([-1, -1, shape.width], np.float32, name=ROWS)
    segments = ops.parameter([-1, -1], np.int32, name=SEGMENTS)
    pool = ops.parameter([-1, -1, -1], np.float32, name=POOL)
    inputs = [rows, segments, pool]
    mask = _attention_mask(segments)
    if shape.names.relative_bias is not None:
        bias = ops.parameter([1, shape.heads, -1, -1], np.float32, name=BIAS)
        inputs.append(bias)
        mask = ops.add(bias, mask)
    hidden: ov.Node = rows
    constants = _Constants([])
    for number in range(shape.layers):
        layer = _Layer(shape, weights.child(f"{shape.names.layer}.{number}"), constants)
        hidden = layer(hidden, mask)
    pooled = ops.matmul(pool, hidden, False, False)
    model = ov.Model([ops.result(pooled)], inputs, "encoder")
    return EncoderGraph(model, constants.tensors)


def _attention_mask(segments: ov.Node) -> ov.Node:
    """Return float32[rows, 1, length, length]: 0 between places of one segment."""
    queries = ops.unsqueeze(segments, _integers(1, 3))
    keys = ops.unsqueeze(segments, _integers(1, 2))
    return ops.select(ops.equal(queries, keys), ops.constant(np.float32(0)), ops.constant(_MASKED))


@dataclass(frozen=True, slots=True)
class _Constants:
    """Makes constants that use the memory of tensors, and keeps these."""

    tensors: list[torch.Tensor]

    def __call__(self, tensor: torch.Tensor) -> ov.Node:
        """Return a constant, float32 to the nodes after it."""
        self.tensors.append(tensor)
        if tensor.dtype == torch.float32:
            return ops.constant(tensor.numpy(), shared_memory=True)
        # numpy has no bfloat16.
        numbers = tensor.view(torch.uint16).numpy()
        narrow = ov.Tensor(numbers, list(tensor.shape), ov.Type.bf16)
        return ops.convert(ops.constant(narrow, shared_memory=True), np.float32)


@dataclass(frozen=True, slots=True)
class _Layer:
    """Adds the nodes of one encoder layer."""

    shape: EncoderShape
    weights: Checkpoint
    constant: _Constants

    def __call__(self, rows: ov.Node, mask: ov.Node) -> ov.Node:
        names = self.shape.names
        query, key, value = (
            self._split_heads(self._linear(rows, name))
            for name in (names.query, names.key, names.value)
        )
        attended = ops.scaled_dot_product_attention(query, key, value, mask)
        joined = ops.reshape(
            ops.transpose(attended, _integers(0, 2, 1, 3)), _integers(0, 0, self.shape.width), True
        )
        added = ops.add(self._linear(joined, names.attention_output), rows)
        rows = self._norm(added, names.attention_norm)
        inner = ops.gelu(self._linear(rows, names.up), _GELU[self.shape.gelu])
        return self._norm(ops.add(self._linear(inner, names.down), rows), names.output_norm)

    def _split_heads(self, rows: ov.Node) -> ov.Node:
        shape = _integers(0, 0, self.shape.heads, self.shape.head_width)
        return ops.transpose(ops.reshape(rows, shape, True), _integers(0, 2, 1, 3))

    def _norm(self, rows: ov.Node, name: str) -> ov.Node:
        epsilon = self.shape.norm_epsilon
        norm = self.weights.norm(name, epsilon)
        centered = ops.mvn(rows, _integers(-1), True, epsilon, "inside_sqrt")
        scaled = ops.multiply(centered, self.constant(norm.weight))
        return ops.add(scaled, self.constant(norm.bias))

    def _linear(self, rows: ov.Node, name: str) -> ov.Node:
        linear = self.weights.linear(name)
        product = ops.matmul(rows, self.constant(linear.weight), False, True)
        return ops.add(product, self.constant(linear.bias))


def _integers(*values: int) -> ov.Node:
    return ops.constant(np.array(values, np.int32))
