"""Quantization of a float32 graph: its matrix products are computed in int8.

A weight has one scale per column. An activation has one scale per token, determined when it is
computed, so the vector of a text does not depend on the other texts in its batch.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import ArrayLike
from onnx import NodeProto, TensorProto, helper, numpy_helper

from embedder.backends.onnx_export import GRAPH
from embedder.core.errors import UnsupportedModel

_MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""


def weight_bits() -> int:
    """Return how many bits a weight may have so that this processor's products do not saturate.

    Without VNNI, x86 adds two 8-bit products in 16 bits.
    """
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    return 7 if x86 and not torch.cpu._is_vnni_supported() else 8


def quantize_graph(source: Path, folder: Path, *, bits: int) -> None:
    """Write a graph with weights of ``bits`` bits to ``folder``, its weights in a file beside it.

    Raises:
        UnsupportedModel: the graph has no matrix product with a constant.
    """
    model = onnx.load(source)
    graph = model.graph
    rewriter = _Rewriter({tensor.name: tensor for tensor in graph.initializer}, bits)
    nodes = [written for node in graph.node for written in rewriter.rewrite(node)]
    if not rewriter.tensors:
        raise UnsupportedModel(
            f"{source} has no matrix product with constant weights to compute in int8"
        )
    used = {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*tensors, *rewriter.tensors.values()])
    if all(opset.domain != _MICROSOFT for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
    onnx.save_model(model, folder / GRAPH, save_as_external_data=True, location=f"{GRAPH}.data")


class _Rewriter:
    """Replaces matrix products with constants; ``tensors`` are the constants of the new nodes."""

    def __init__(self, weights: Mapping[str, TensorProto], bits: int) -> None:
        self.tensors: dict[str, TensorProto] = {}
        self._weights = weights
        self._largest = 2 ** (bits - 1) - 1
        self._scaled: set[str] = set()

    def rewrite(self, node: NodeProto) -> Iterator[NodeProto]:
        """Yield the nodes that replace a node: the node itself unless it is such a product."""
        weight = self._weights.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or len(weight.dims) != 2 or weight.data_type != TensorProto.FLOAT:
            yield node
            return
        if node.input[0] not in self._scaled:
            self._scaled.add(node.input[0])
            yield from self._scale_rows(node.input[0])
        yield from self._multiply(node.input[0], weight, node.output[0])

    def _scale_rows(self, rows: str) -> Iterator[NodeProto]:
        """Scale every row to -127 … 127, shift it to 1 … 255, and store its scale."""
        last = self._constant("int8.last_axis", np.array([-1], np.int64))
        largest = self._constant("int8.largest", np.float32(127))
        least = self._constant("int8.least", np.float32(1e-30))  # for a row of zeros
        make = helper.make_node
        yield make("Abs", [rows], [f"{rows}.size"])
        yield make("ReduceMax", [f"{rows}.size", last], [f"{rows}.top"], keepdims=1)
        yield make("Div", [f"{rows}.top", largest], [f"{rows}.step"])
        yield make("Max", [f"{rows}.step", least], [f"{rows}.scale"])
        yield make("Div", [rows, f"{rows}.scale"], [f"{rows}.scaled"])
        scaled = [f"{rows}.scaled", *self._one_and_middle()]
        # Not the standard operator, which not every supported ONNX Runtime has in these opsets.
        yield make("QuantizeLinear", scaled, [f"{rows}.int8"], domain=_MICROSOFT)

    def _multiply(self, rows: str, weight: TensorProto, product: str) -> Iterator[NodeProto]:
        matrix = numpy_helper.to_array(weight)
        largest = np.abs(matrix).max(axis=0)
        scales = np.where(largest > 0, largest / self._largest, 1).astype(np.float32)
        columns = self._constant(f"{weight.name}.scales", scales)
        integers = np.rint(matrix / scales).astype(np.int8)
        narrow = self._constant(f"{weight.name}.int8", integers)
        make = helper.make_node
        one, middle = self._one_and_middle()
        factors = [f"{rows}.int8", narrow, one, columns, middle]
        yield make("MatMulIntegerToFloat", factors, [f"{product}.scaled"], domain=_MICROSOFT)
        yield make("Mul", [f"{product}.scaled", f"{rows}.scale"], [product])

    def _one_and_middle(self) -> tuple[str, str]:
        one = self._constant("int8.one", np.float32(1))
        return one, self._constant("int8.middle", np.uint8(128))

    def _constant(self, name: str, value: ArrayLike) -> str:
        if name not in self.tensors:
            self.tensors[name] = numpy_helper.from_array(np.asarray(value), name)
        return name
