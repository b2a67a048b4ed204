"""A graph that the model brings is used instead of an export if possible; the notes tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from embedder.backends import onnx_backend
from embedder.backends.onnx_backend import OnnxBackend
from embedder.backends.onnx_bundled_graph import BUNDLED_GRAPH
from embedder.core.errors import UnsafeModel, UnsupportedModel
from embedder.core.types import TokenBatch
from embedder.models.files import ModelFiles
from embedder.models.safety import sha256
from embedder.settings.model import BackendSettings, ModelSettings
from tests.tiny_models import VOCABULARY, write_tiny_bert

WIDTH = 6
TABLE: NDArray[np.float32] = (
    np.random.default_rng(0).standard_normal((len(VOCABULARY), WIDTH)).astype(np.float32)
)
TOKENS = TokenBatch.of([[5, 6, 7], [8], [9, 9, 10, 11]])
USUAL = ("input_ids", "attention_mask")


def _write_graph(
    path: Path,
    table: NDArray[np.float32] = TABLE,
    inputs: Sequence[str] = USUAL,
    kind: int = TensorProto.INT64,
    **save: Any,
) -> None:
    """Write a graph whose hidden states are rows of a table times a factor of the other inputs."""
    values = [helper.make_tensor_value_info(name, kind, ["batch", "sequence"]) for name in inputs]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Add", [inputs[1], inputs[-1]], ["seen"]),
        helper.make_node("Cast", ["seen"], ["factors"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["factors", "last"], ["columns"]),
        helper.make_node("Mul", ["rows", "columns"], ["last_hidden_state"]),
    ]
    shape = ["batch", "sequence", table.shape[1]]
    output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, shape)
    constants = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([-1], np.int64), "last"),
    ]
    graph = helper.make_graph(nodes, "table", values, [output], constants)
    path.parent.mkdir(exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, **save)


def _expected(factor: int) -> NDArray[np.float32]:
    means = [TABLE[row].mean(axis=0) * factor for row in TOKENS.rows()]
    return np.stack(means).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a model directory whose export is a table of ones."""

    def export(files: ModelFiles, folder: Path) -> None:
        _write_graph(folder / "model.onnx", np.ones_like(TABLE))

    monkeypatch.setattr(onnx_backend, "export_graph", export)
    return write_tiny_bert(tmp_path / "model")


def _load(model: Path, sha: str | None = None) -> OnnxBackend:
    files = ModelFiles.open(ModelSettings(name=str(model), sha256=sha))
    cache = str(model.parent / "graphs")
    return OnnxBackend.load(files, BackendSettings(name="onnx", device="cpu", cache_dir=cache))


def _is_exported(backend: OnnxBackend) -> bool:
    return bool((backend.encode(TOKENS) == 2).all())


@pytest.mark.parametrize("kind", [TensorProto.INT32, TensorProto.INT64])
def test_a_bundled_graph_is_used(model: Path, kind: int) -> None:
    _write_graph(model / BUNDLED_GRAPH, kind=kind)

    backend = _load(model)

    np.testing.assert_allclose(backend.encode(TOKENS), _expected(2), rtol=1e-5)
    assert backend.notes == (f"the graph is the model's own {BUNDLED_GRAPH}",)
    assert not (model.parent / "graphs").exists()


def test_all_token_types_are_0(model: Path) -> None:
    _write_graph(model / BUNDLED_GRAPH, inputs=(*USUAL, "token_type_ids"))

    np.testing.assert_allclose(_load(model).encode(TOKENS), _expected(1), rtol=1e-5)


def _write_beside(model: Path) -> Path:
    """Write a graph with its table in a separate file, and return the path of that file."""
    _write_graph(
        model / BUNDLED_GRAPH,
        save_as_external_data=True,
        location="weights.data",
        size_threshold=100,
    )
    return (model / BUNDLED_GRAPH).with_name("weights.data")


def test_external_weights_are_used_and_counted(model: Path) -> None:
    weights = _write_beside(model)

    backend = _load(model)

    np.testing.assert_allclose(backend.encode(TOKENS), _expected(2), rtol=1e-5)
    assert backend.memory_bytes == weights.stat().st_size + (model / BUNDLED_GRAPH).stat().st_size


def _point_at(path: Path, location: str) -> None:
    graph = onnx.load(path, load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(graph.SerializeToString())


def test_a_graph_that_refers_to_other_files_is_refused(model: Path) -> None:
    _write_beside(model)
    _point_at(model / BUNDLED_GRAPH, "../model.safetensors")

    with pytest.raises(UnsafeModel, match=r"'\.\./model\.safetensors', outside its folder"):
        _load(model)


def _write_damaged(model: Path) -> None:
    _write_graph(model / BUNDLED_GRAPH)
    (model / BUNDLED_GRAPH).write_bytes((model / BUNDLED_GRAPH).read_bytes()[:200])


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (_write_damaged, "it cannot be read"),
        (lambda model: _write_beside(model).unlink(), "onnxruntime refuses it"),
        (
            lambda model: _write_graph(model / BUNDLED_GRAPH, inputs=(*USUAL, "position_ids")),
            "its inputs are",
        ),
    ],
    ids=["damaged", "without weights", "other inputs"],
)
def test_an_unusable_graph_is_replaced_by_an_export(
    model: Path, write: Callable[[Path], None], reason: str
) -> None:
    write(model)

    backend = _load(model)

    assert _is_exported(backend)
    assert backend.notes[0].startswith(f"the model's own {BUNDLED_GRAPH} is not used: {reason}")


def test_a_graph_is_not_used_if_a_digest_of_the_weights_is_configured(model: Path) -> None:
    _write_graph(model / BUNDLED_GRAPH)

    backend = _load(model, sha256(model / "model.safetensors"))

    assert _is_exported(backend)
    assert "is not used: the configured sha256" in backend.notes[0]


def test_a_graph_with_values_that_are_not_finite_is_refused(model: Path) -> None:
    _write_graph(model / BUNDLED_GRAPH, np.full_like(TABLE, np.inf))

    with pytest.raises(UnsupportedModel, match="not finite"):
        _load(model)
