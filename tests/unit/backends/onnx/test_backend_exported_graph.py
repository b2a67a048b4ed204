"""An exported graph is stored, verified, and exported again if it is damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from embedder.backends import onnx_backend
from embedder.backends.onnx_backend import OnnxBackend
from embedder.backends.precision import min_cosine
from embedder.core.errors import ConfigurationError
from embedder.core.types import TokenBatch
from embedder.models.files import ModelFiles
from tests.tiny_models import write_tiny_bert
from tests.unit.backends.onnx.conftest import load_onnx, random_tokens


@pytest.fixture
def exports(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace exports by copies of the existing graph, and list their folders."""
    (whole,) = (path for path in cache.iterdir() if _is_float32(path))
    folders: list[Path] = []

    def copy(files: ModelFiles, folder: Path) -> None:
        folders.append(folder)
        for path in whole.glob("model.onnx*"):
            shutil.copy(path, folder)

    monkeypatch.setattr(onnx_backend, "export_graph", copy)
    return folders


def _is_float32(folder: Path) -> bool:
    return folder.is_dir() and b"QuantizeLinear" not in (folder / "model.onnx").read_bytes()


def test_a_stored_graph_is_not_exported_again(tiny: Path, cache: Path, exports: list[Path]) -> None:
    written = {path: path.stat().st_mtime_ns for path in cache.rglob("*.onnx*")}

    load_onnx(tiny, cache)
    load_onnx(tiny, cache, dtype="int8")

    assert exports == []
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.onnx*")} == written


def test_other_weights_are_exported_separately(
    tmp_path: Path, cache: Path, exports: list[Path]
) -> None:
    other = write_tiny_bert(tmp_path, layer_norm_eps=1e-3)

    load_onnx(other, shutil.copytree(cache, tmp_path / "graphs"))

    assert len(exports) == 1


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_damaged_graph_is_exported_again(
    tiny: Path, cache: Path, exact: OnnxBackend, exports: list[Path], tmp_path: Path, dtype: str
) -> None:
    copied = shutil.copytree(cache, tmp_path / "graphs")
    for weights in copied.rglob("*.data"):
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    tokens = random_tokens(5)

    vectors = load_onnx(tiny, copied, dtype=dtype).encode(tokens)

    assert len(exports) == 1
    assert min_cosine(vectors, exact.encode(tokens)) > 0.99


def test_a_graph_that_onnxruntime_refuses_is_exported_again(
    tiny: Path, exports: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = vars(onnx_backend)["export_graph"]

    def fail_once(files: ModelFiles, folder: Path) -> None:
        copy(files, folder)
        if len(exports) == 1:
            (folder / "model.onnx").write_bytes(b"no graph")

    monkeypatch.setattr(onnx_backend, "export_graph", fail_once)

    assert load_onnx(tiny, tmp_path).encode(TokenBatch.of([[1]])).shape == (1, 32)
    assert len(exports) == 2


def test_a_graph_that_onnxruntime_always_refuses_is_reported(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def garble(files: ModelFiles, folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"no graph")

    monkeypatch.setattr(onnx_backend, "export_graph", garble)

    with pytest.raises(
        ConfigurationError, match=r"cannot be computed in onnx: onnxruntime refuses"
    ):
        load_onnx(tiny, tmp_path)
