"""Matrix products in int8: close to float32, and independent of the other rows of a batch."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from embedder.backends.onnx_export import GRAPH
from embedder.backends.onnx_quantization import quantize_graph, weight_bits
from embedder.core.errors import UnsupportedModel

Array = NDArray[np.float32]

BITS = weight_bits()
"""The bits that this processor computes without saturating; seven bits work on every one."""

ERROR = 0.3 * 2 ** (8 - BITS)

WIDTH, COLUMNS = 64, 24
RANDOM = np.random.default_rng(0)
ROWS: Array = RANDOM.standard_normal((3, 5, WIDTH)).astype(np.float32)
WEIGHTS: Array = RANDOM.standard_normal((WIDTH, COLUMNS)).astype(np.float32)
PRODUCT = helper.make_node("MatMul", ["x", "w"], ["y"])


def _write(folder: Path, weights: Array = WEIGHTS, nodes: list[NodeProto] | None = None) -> Path:
    """Write a graph that multiplies ``x`` by constants."""
    graph = helper.make_graph(
        nodes or [PRODUCT],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializer=[numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / GRAPH)
    return folder / GRAPH


def _run(graph: Path, rows: Array) -> Array:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {"x": rows})[0]
    return result


def _quantized(tmp_path: Path, weights: Array = WEIGHTS, bits: int = BITS) -> Path:
    folder = tmp_path / "int8"
    folder.mkdir()
    quantize_graph(_write(tmp_path / "float32", weights), folder, bits=bits)
    return folder / GRAPH


def _expected(rows: Array, weights: Array, largest: int) -> Array:
    """Compute the product with rounded rows and columns."""
    by_row = np.abs(rows).max(axis=-1, keepdims=True) / 127
    by_column = np.abs(weights).max(axis=0) / largest
    left, right = np.rint(rows / by_row), np.rint(weights / by_column)
    product: Array = (left @ right * by_row * by_column).astype(np.float32)
    return product


@pytest.mark.parametrize(("bits", "largest"), [(BITS, 2 ** (BITS - 1) - 1), (7, 63)])
def test_a_product_equals_integer_arithmetic(tmp_path: Path, bits: int, largest: int) -> None:
    found = _run(_quantized(tmp_path, bits=bits), ROWS)

    np.testing.assert_allclose(found, _expected(ROWS, WEIGHTS, largest), rtol=1e-4, atol=1e-4)
    assert (found != ROWS @ WEIGHTS).any()


def test_rows_and_columns_of_zeros_stay_zero(tmp_path: Path) -> None:
    weights, rows = WEIGHTS.copy(), ROWS.copy()
    weights[:, 3] = 0
    rows[1, 2] = 0

    found = _run(_quantized(tmp_path, weights), rows)

    assert (found[1, 2] == 0).all()
    assert (found[:, :, 3] == 0).all()
    np.testing.assert_allclose(found, rows @ weights, atol=ERROR)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    graph = _quantized(tmp_path_factory.mktemp("graphs"))
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=6))
def test_a_row_has_the_same_result_beside_rows_of_any_size(
    session: onnxruntime.InferenceSession, sizes: list[float]
) -> None:
    beside = np.stack([ROWS[0, 0] * size for size in sizes])
    rows = np.concatenate([ROWS[0, :1], beside])[None].astype(np.float32)

    together = session.run(None, {"x": rows})[0]
    alone = session.run(None, {"x": ROWS[:1, :1]})[0]

    assert (together[0, 0] == alone[0, 0]).all()


def test_inputs_of_several_products_are_scaled_once(tmp_path: Path) -> None:
    second = helper.make_node("MatMul", ["x", "w"], ["z"])
    both = [PRODUCT, second, helper.make_node("Add", ["y", "z"], ["sum"])]
    source = _write(tmp_path / "float32", nodes=both)

    quantize_graph(source, tmp_path, bits=8)
    operators = [node.op_type for node in onnx.load(tmp_path / GRAPH).graph.node]

    assert operators.count("QuantizeLinear") == 1
    assert operators.count("MatMulIntegerToFloat") == 2


def test_float32_weights_are_removed(tmp_path: Path) -> None:
    model = onnx.load(_quantized(tmp_path))
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}

    assert kinds["w.int8"] == TensorProto.INT8
    assert "w" not in kinds


def test_float32_weights_with_other_uses_are_kept(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("ReduceSum", ["w"], ["s"], keepdims=0),
        helper.make_node("Add", ["z", "s"], ["y"]),
    ]
    source = _write(tmp_path / "float32", nodes=nodes)

    quantize_graph(source, tmp_path, bits=BITS)

    np.testing.assert_allclose(_run(tmp_path / GRAPH, ROWS), _run(source, ROWS), atol=ERROR)


def test_a_graph_without_such_products_is_refused(tmp_path: Path) -> None:
    source = _write(tmp_path, nodes=[helper.make_node("MatMul", ["x", "x"], ["y"])])

    with pytest.raises(UnsupportedModel, match="no matrix product"):
        quantize_graph(source, tmp_path, bits=8)


@pytest.mark.parametrize(
    ("machine", "vnni", "bits"),
    [("x86_64", True, 8), ("x86_64", False, 7), ("AMD64", False, 7), ("aarch64", False, 8)],
)
def test_weights_have_one_bit_less_if_sums_would_saturate(
    monkeypatch: pytest.MonkeyPatch, machine: str, vnni: bool, bits: int
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: vnni)

    assert weight_bits() == bits
