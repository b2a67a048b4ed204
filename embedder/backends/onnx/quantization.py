"""A float32 graph whose matrix products are computed in eight bits.

A weight has one scale for each of its columns, set here; an activation has one for each token, set
as it is computed, so that no text's vector depends on what stands beside it in a batch. Knows
nothing of where graphs come from.
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

from embedder.backends.onnx.export import GRAPH
from embedder.core.errors import UnsupportedModel

_CONTRIBUTED = "com.microsoft"
"""The operators that ONNX Runtime has beside the standard ones."""


def weight_bits() -> int:
    """Return how many bits of a weight this processor multiplies without saturating.

    Before VNNI, x86 adds two products of eight bits each in sixteen.
    """
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    return 7 if x86 and not torch.cpu._is_vnni_supported() else 8


def quantize_graph(source: Path, folder: Path, *, bits: int) -> None:
    """Write a graph again with weights of ``bits`` bits, its weights in a file beside it.

    Raises:
        UnsupportedModel: it has no matrix product with a constant.
    """
    model = onnx.load(source)
    graph = model.graph
    rewriter = _Rewriter({tensor.name: tensor for tensor in graph.initializer}, bits)
    nodes = [written for node in graph.node for written in rewriter.rewritten(node)]
    if not rewriter.tensors:
        raise UnsupportedModel(f"{source} has no matrix product that int8 would make faster")
    used = {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*tensors, *rewriter.tensors.values()])
    if all(opset.domain != _CONTRIBUTED for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_CONTRIBUTED, 1))
    onnx.save_model(model, folder / GRAPH, save_as_external_data=True, location=f"{GRAPH}.data")


class _Rewriter:
    """Replaces products with constants; ``tensors`` are the constants of what it wrote."""

    def __init__(self, weights: Mapping[str, TensorProto], bits: int) -> None:
        self.tensors: dict[str, TensorProto] = {}
        self._weights = weights
        self._largest = 2 ** (bits - 1) - 1
        self._scaled: set[str] = set()

    def rewritten(self, node: NodeProto) -> Iterator[NodeProto]:
        """Give what takes the place of a node: most often the node."""
        weight = self._weights.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or len(weight.dims) != 2 or weight.data_type != TensorProto.FLOAT:
            yield node
            return
        if node.input[0] not in self._scaled:
            self._scaled.add(node.input[0])
            yield from self._scale_rows(node.input[0])
        yield from self._multiply(node.input[0], weight, node.output[0])

    def _scale_rows(self, rows: str) -> Iterator[NodeProto]:
        """Bring every row to -127 … 127 and that to 1 … 255, and keep its scale."""
        last = self._constant("int8.last_axis", np.array([-1], np.int64))
        largest = self._constant("int8.largest", np.float32(127))
        least = self._constant("int8.least", np.float32(1e-30))  # a row of zeros has no scale
        one, middle = self._one(), self._middle()
        make = helper.make_node
        yield make("Abs", [rows], [f"{rows}.size"])
        yield make("ReduceMax", [f"{rows}.size", last], [f"{rows}.top"], keepdims=1)
        yield make("Div", [f"{rows}.top", largest], [f"{rows}.step"])
        yield make("Max", [f"{rows}.step", least], [f"{rows}.scale"])
        yield make("Div", [rows, f"{rows}.scale"], [f"{rows}.scaled"])
        scaled = [f"{rows}.scaled", one, middle]
        # The standard operator of the newest sets is not in every ONNX Runtime that has these.
        yield make("QuantizeLinear", scaled, [f"{rows}.int8"], domain=_CONTRIBUTED)

    def _multiply(self, rows: str, weight: TensorProto, product: str) -> Iterator[NodeProto]:
        matrix = numpy_helper.to_array(weight)
        largest = np.abs(matrix).max(axis=0)
        scales = np.where(largest > 0, largest / self._largest, 1).astype(np.float32)
        columns = self._constant(f"{weight.name}.scales", scales)
        integers = np.rint(matrix / scales).astype(np.int8)
        narrow = self._constant(f"{weight.name}.int8", integers)
        make = helper.make_node
        factors = [f"{rows}.int8", narrow, self._one(), columns, self._middle()]
        yield make("MatMulIntegerToFloat", factors, [f"{product}.scaled"], domain=_CONTRIBUTED)
        yield make("Mul", [f"{product}.scaled", f"{rows}.scale"], [product])

    def _one(self) -> str:
        return self._constant("int8.one", np.float32(1))

    def _middle(self) -> str:
        return self._constant("int8.middle", np.uint8(128))

    def _constant(self, name: str, value: ArrayLike) -> str:
        if name not in self.tensors:
            self.tensors[name] = numpy_helper.from_array(np.asarray(value), name)
        return name
