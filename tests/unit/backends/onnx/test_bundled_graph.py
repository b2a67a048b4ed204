"""A bundled graph is used only if it is safe and computes hidden states for any batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from embedder.backends.onnx_bundled_graph import bundled_graph, graph_files, unusable_reason
from embedder.core.errors import UnsafeModel
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings
from tests.tiny_models import write_layout


@dataclass(frozen=True)
class Entry:
    """An input or output of a session."""

    name: str
    shape: Sequence[int | str | None] = ("batch", "sequence")
    type: str = "tensor(int64)"


IDS, MASK, TYPES = Entry("input_ids"), Entry("attention_mask"), Entry("token_type_ids")
HIDDEN = Entry("last_hidden_state", ("batch", "sequence", 384), "tensor(float)")


def test_the_path_of_a_bundled_graph(tmp_path: Path) -> None:
    files = ModelFiles.open(ModelSettings(name=str(write_layout(tmp_path))))

    assert bundled_graph(files) is None

    path = tmp_path / "onnx" / "model.onnx"
    path.parent.mkdir()
    path.touch()

    assert bundled_graph(files) == path


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        ([IDS, MASK], HIDDEN),
        ([IDS, MASK, TYPES], HIDDEN),
        ([MASK, IDS], Entry("token_embeddings", (None, None, 8), "tensor(float)")),
        ([Entry("input_ids", ("b", "s"), "tensor(int32)"), MASK], HIDDEN),
    ],
)
def test_a_graph_of_hidden_states_of_any_batch_is_usable(
    inputs: list[Entry], output: Entry
) -> None:
    assert unusable_reason(inputs, [Entry("pooled"), output]) is None


@pytest.mark.parametrize(
    ("inputs", "output", "reason"),
    [
        ([IDS], HIDDEN, "its inputs are input_ids"),
        ([IDS, MASK, Entry("position_ids")], HIDDEN, "position_ids"),
        ([IDS, MASK, Entry("past_key_values.0.key")], HIDDEN, "past_key_values"),
        ([Entry("input_ids", type="tensor(float)"), MASK], HIDDEN, "input_ids is a tensor(float)"),
        ([Entry("input_ids", (1, "s")), MASK], HIDDEN, "fixed shape"),
        ([IDS, Entry("attention_mask", ("b", 1, 1, "s"))], HIDDEN, "attention_mask is a"),
        ([IDS, MASK], Entry("logits", HIDDEN.shape, HIDDEN.type), "no output"),
        ([IDS, MASK], Entry(HIDDEN.name, ("b", 8), HIDDEN.type), "of shape"),
        ([IDS, MASK], Entry(HIDDEN.name, ("b", "s", "w"), HIDDEN.type), "of shape"),
        ([IDS, MASK], Entry(HIDDEN.name, HIDDEN.shape, "tensor(float16)"), "float16"),
    ],
)
def test_any_other_graph_is_not_usable_for_a_reason(
    inputs: list[Entry], output: Entry, reason: str
) -> None:
    why_not = unusable_reason(inputs, [output])

    assert why_not is not None
    assert reason in why_not


def _write(path: Path, location: str, *, nested: bool = False) -> Path:
    """Write a graph with a constant in another file."""
    tensor = numpy_helper.from_array(np.ones(4, np.float32), "constant")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    constant = helper.make_node("Constant", [], ["constant"], value=tensor)
    if nested:
        inner = helper.make_graph([constant], "inner", [], [])
        nodes = [helper.make_node("If", ["x"], [], then_branch=inner, else_branch=inner)]
        graph = helper.make_graph(nodes, "outer", [value], [value])
    else:
        graph = helper.make_graph([], "graph", [value], [value], initializer=[tensor])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("location", ["weights.data", "below/weights.data"])
def test_weights_inside_the_folder_are_listed(tmp_path: Path, location: str, nested: bool) -> None:
    graph = _write(tmp_path / "model.onnx", location, nested=nested)

    assert graph_files(graph) == [graph, tmp_path / location]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../other", "below/../../other", "..\\other", "C:\\other"]
)
def test_weights_outside_the_folder_are_refused(
    tmp_path: Path, location: str, nested: bool
) -> None:
    graph = _write(tmp_path / "model.onnx", location, nested=nested)

    with pytest.raises(UnsafeModel, match="outside its folder"):
        graph_files(graph)


def test_a_file_that_is_no_graph_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")

    with pytest.raises(ValueError, match="cannot be read"):
        graph_files(path)


def test_a_graph_with_inline_weights_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    onnx.save(helper.make_model(helper.make_graph([], "graph", [value], [value])), path)

    assert graph_files(path) == [path]
