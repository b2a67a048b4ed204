"""Which backend loads a model: the one that is named, or the first that can."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from embedder.backends.protocol import Backend
from embedder.core.errors import ConfigurationError, MissingExtra, UnsupportedModel
from embedder.core.types import TokenBatch, Vectors
from embedder.inference.backend import load_backend
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings
from tests.tiny_models import write_layout, write_tiny_bert
from tests.unit.backends.parity import open_files

BUNDLED_GRAPH = "onnx/model.onnx"


class FakeOnnx:
    """Stands in for the ONNX backend: remembers what it was asked for, and computes nothing."""

    name = "onnx"
    device = "cpu"
    width = 32
    padded = True
    max_batch_tokens = 2048
    memory_bytes = 1
    max_concurrency = 1

    def __init__(self, files: ModelFiles, settings: BackendSettings) -> None:
        self.asked = (files, settings)
        self.dtype: str = settings.dtype
        self.notes: tuple[str, ...] = ("of onnx",)

    @classmethod
    def load(cls, files: ModelFiles, settings: BackendSettings) -> FakeOnnx:
        return cls(files, settings)

    def encode(self, tokens: TokenBatch) -> Vectors:
        raise NotImplementedError


@pytest.fixture
def onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, backend = ModuleType("onnxruntime"), ModuleType("embedder.backends.onnx.backend")
    runtime.__spec__ = ModuleSpec("onnxruntime", None)
    backend.__dict__["OnnxBackend"] = FakeOnnx
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.setitem(sys.modules, "embedder.backends.onnx.backend", backend)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(params=["onnxruntime", "onnx"])
def missing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take one of the packages away that the ONNX backend needs, and return its name."""
    name = str(request.param)
    monkeypatch.setitem(sys.modules, name, None)
    return name


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    """Write a model that torch does not compute, and that brings a graph of its own."""
    write_layout(tmp_path, model_type="of-another-world")
    (tmp_path / BUNDLED_GRAPH).parent.mkdir()
    (tmp_path / BUNDLED_GRAPH).write_bytes(b"")
    return tmp_path


def _load(directory: Path, **settings: Any) -> Backend:
    return load_backend(open_files(directory), BackendSettings(device="cpu", **settings))


@pytest.mark.usefixtures("onnx")
@pytest.mark.parametrize("name", ["auto", "torch"])
def test_torch_computes_what_it_can(tiny: Path, name: str) -> None:
    assert _load(tiny, name=name, dtype="float32").name == "torch"


@pytest.mark.usefixtures("onnx")
def test_onnx_is_loaded_where_it_is_named_with_what_is_asked_for(tiny: Path) -> None:
    files, settings = open_files(tiny), BackendSettings(name="onnx", device="cpu")

    backend = load_backend(files, settings)

    assert isinstance(backend, FakeOnnx)
    assert backend.asked == (files, settings)
    assert backend.notes == ("of onnx",)


@pytest.mark.usefixtures("onnx")
def test_int8_is_computed_by_onnx_and_the_operator_is_told(tiny: Path) -> None:
    backend = _load(tiny, dtype="int8")

    assert backend.name == "onnx"
    assert backend.notes == ("onnx: torch does not compute int8 here", "of onnx")


@pytest.mark.usefixtures("onnx")
def test_a_model_that_torch_does_not_know_is_computed_from_its_own_graph(unknown: Path) -> None:
    backend = _load(unknown)

    assert backend.name == "onnx"
    assert "of-another-world" in backend.notes[0]
    assert backend.notes[1:] == ("of onnx",)


@pytest.mark.usefixtures("onnx")
def test_a_model_that_nothing_knows_is_refused_by_what_it_is(unknown: Path) -> None:
    (unknown / BUNDLED_GRAPH).unlink()

    with pytest.raises(UnsupportedModel, match="of-another-world"):
        _load(unknown)


@pytest.mark.usefixtures("onnx")
def test_torch_by_name_never_becomes_onnx(unknown: Path) -> None:
    with pytest.raises(UnsupportedModel, match="of-another-world"):
        _load(unknown, name="torch")


@pytest.mark.usefixtures("onnx")
def test_torch_by_name_does_not_compute_int8(tiny: Path) -> None:
    with pytest.raises(ConfigurationError, match="int8"):
        _load(tiny, name="torch", dtype="int8")


@pytest.mark.parametrize(
    ("settings", "asking"),
    [({"name": "onnx"}, "backend.name 'onnx'"), ({"dtype": "int8"}, "backend.dtype 'int8'")],
)
def test_without_what_runs_onnx_the_setting_that_needs_it_is_named(
    tiny: Path, missing: str, settings: dict[str, str], asking: str
) -> None:
    with pytest.raises(MissingExtra) as caught:
        _load(tiny, **settings)

    assert caught.value.setting == asking
    assert (caught.value.package, caught.value.extra) == (missing, "onnx")


@pytest.mark.usefixtures("missing")
def test_without_what_runs_onnx_a_graph_is_no_way_out(unknown: Path) -> None:
    with pytest.raises(UnsupportedModel, match="of-another-world"):
        _load(unknown)
