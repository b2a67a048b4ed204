"""A clone of a hub repository: other weight formats and code beside the safetensors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from embedder.core.errors import UnsupportedModel
from tests.tiny_models import write_json
from tests.unit.backends.conftest import WriteModel
from tests.unit.backends.parity import load, our_vectors

TEXTS = ["some words", "a", "other words"]
FOREIGN = (
    "pytorch_model.bin",
    "tf_model.h5",
    "flax_model.msgpack",
    "modeling_own.py",
    "openvino/openvino_model.bin",
    "onnx/model.onnx",
    "1_Pooling/weights.pt",
)
CODE = {"AutoConfig": "modeling_own.Config", "AutoModel": "modeling_own.Model"}


@pytest.fixture(params=["bert", "modernbert"])
def clone(request: pytest.FixtureRequest, model_of: WriteModel, tmp_path: Path) -> Path:
    """Return a directory whose other files are damaged, and whose code fails when it is run."""
    directory = shutil.copytree(model_of(request.param), tmp_path / "clone")
    for name in FOREIGN:
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemExit('this must never run')")
        path.chmod(0)
    return directory


def _configure(directory: Path, **values: object) -> None:
    path = directory / "config.json"
    write_json(path, {**json.loads(path.read_text()), **values})


def test_only_the_safetensors_are_read(clone: Path, model_of: WriteModel) -> None:
    kind = json.loads((clone / "config.json").read_text())["model_type"]

    np.testing.assert_array_equal(our_vectors(clone, TEXTS), our_vectors(model_of(kind), TEXTS))


def test_a_known_architecture_does_not_need_the_repositorys_code(clone: Path) -> None:
    before = our_vectors(clone, TEXTS)
    _configure(clone, auto_map=CODE)

    np.testing.assert_array_equal(our_vectors(clone, TEXTS), before)


def test_an_architecture_that_only_the_repositorys_code_has_is_refused(clone: Path) -> None:
    _configure(clone, auto_map=CODE, model_type="own-architecture")

    with pytest.raises(UnsupportedModel, match=r"'own-architecture'.* code of its 'auto_map'"):
        load(clone)


def test_weights_that_only_the_repositorys_code_uses_are_refused_by_name(clone: Path) -> None:
    tensors = load_file(clone / "model.safetensors")
    name = "encoder.layer.0.own.weight" if "encoder.layer.0.output.dense.bias" in tensors else "own"
    save_file({**tensors, name: tensors[next(iter(tensors))].clone()}, clone / "model.safetensors")
    load(clone)
    _configure(clone, auto_map=CODE)

    with pytest.raises(UnsupportedModel, match=rf"'auto_map'.* weights: {name}"):
        load(clone)
