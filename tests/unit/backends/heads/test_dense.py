"""The layers after the transformer are applied in order, and refused if their widths differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from embedder.backends.heads.dense import DenseHead
from embedder.core.errors import UnsupportedModel
from embedder.models.heads.dense import Dense
from embedder.models.layout import Layout
from tests.tiny_architectures import write_dense

LENGTHS = torch.tensor([2, 1])
HIDDEN = torch.arange(12, dtype=torch.float32).reshape(3, 4)
MEANS = np.array([[2, 3, 4, 5], [8, 9, 10, 11]], np.float32)


def _dense(folder: Path, width: int, out: int, activation: str = "identity") -> Dense:
    write_dense(folder, width, out, bias=True)
    return Dense(folder, activation)


def _head(layout: Layout, hidden_width: int = 4) -> DenseHead:
    return DenseHead(layout, hidden_width=hidden_width, device=torch.device("cpu"))


def test_without_dense_modules_only_the_pooling_is_applied(tmp_path: Path) -> None:
    head = _head(Layout(tmp_path, ("mean",)))

    assert (head.width, head.memory_bytes) == (4, 0)
    assert (head(HIDDEN, LENGTHS).numpy() == MEANS).all()


def test_poolings_are_concatenated_in_the_order_of_the_layout(tmp_path: Path) -> None:
    head = _head(Layout(tmp_path, ("last", "mean")))

    vectors = head(HIDDEN, LENGTHS).numpy()

    assert head.width == 8
    assert (vectors == np.concatenate([HIDDEN[[1, 2]].numpy(), MEANS], axis=1)).all()


def test_dense_modules_are_applied_in_order(tmp_path: Path) -> None:
    first = _dense(tmp_path / "2_Dense", 4, 3, "tanh")
    second = _dense(tmp_path / "3_Dense", 3, 2)
    one, two = (load_file(dense.folder / "model.safetensors") for dense in (first, second))
    inner = np.tanh(MEANS @ one["linear.weight"].numpy().T + one["linear.bias"].numpy())
    expected = inner @ two["linear.weight"].numpy().T + two["linear.bias"].numpy()

    head = _head(Layout(tmp_path, ("mean",), dense=(first, second)))

    assert (head.width, head.memory_bytes) == (2, 4 * (12 + 3 + 6 + 2))
    np.testing.assert_allclose(head(HIDDEN, LENGTHS).numpy(), expected, rtol=1e-5)


def test_narrow_hidden_states_give_float32(tmp_path: Path) -> None:
    head = _head(Layout(tmp_path, ("mean",), dense=(_dense(tmp_path / "2_Dense", 4, 3),)))

    assert head(HIDDEN.to(torch.bfloat16), LENGTHS).dtype == torch.float32


def test_narrow_weights_compute_in_float32(tmp_path: Path) -> None:
    dense = _dense(tmp_path / "2_Dense", 4, 3)
    path = dense.folder / "model.safetensors"
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(path).items()}
    save_file(tensors, path)

    head = _head(Layout(tmp_path, ("mean",), dense=(dense,)))

    assert head(HIDDEN, LENGTHS).dtype == torch.float32


def test_a_dense_module_of_another_width_is_refused_with_its_folder(tmp_path: Path) -> None:
    dense = _dense(tmp_path / "2_Dense", 5, 3)

    with pytest.raises(
        UnsupportedModel, match=r"2_Dense takes vectors of 5 components; the layer before it has 4"
    ):
        _head(Layout(tmp_path, ("mean",), dense=(dense,)))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda path: path.unlink(), "has no model.safetensors"),
        (lambda path: save_file({"weight": torch.ones(2)}, path), r"linear\.weight"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), "cannot be read"),
    ],
)
def test_a_dense_module_without_its_weights_is_refused(
    tmp_path: Path, damage: object, named: str
) -> None:
    dense = _dense(tmp_path / "2_Dense", 4, 3)
    assert callable(damage)
    damage(dense.folder / "model.safetensors")

    with pytest.raises(UnsupportedModel, match=named):
        _head(Layout(tmp_path, ("mean",), dense=(dense,)))
