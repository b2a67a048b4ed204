"""A model is loaded by the configured backend, or by the first that supports it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from embedder.backends.protocol import Backend
from embedder.core.errors import ConfigurationError, MissingExtra, UnsupportedModel
from embedder.core.outputs import OutputKind
from embedder.core.types import Rows, TokenBatch, Vectors
from embedder.inference.backend.load import load_backend
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings
from tests.tiny_models import write_layout, write_tiny_bert
from tests.unit.backends.parity import open_files

BUNDLED_GRAPH = "onnx/model.onnx"


class FakeOnnx:
    """Replaces the ONNX backend: records its arguments and computes nothing."""

    name = "onnx"
    device = "cpu"
    width = 32
    outputs: tuple[OutputKind, ...] = (OutputKind.DENSE,)
    token_width = 0
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

    def compute(
        self, tokens: TokenBatch, kinds: Collection[OutputKind]
    ) -> Mapping[OutputKind, Rows]:
        raise NotImplementedError


@pytest.fixture
def onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, backend = ModuleType("onnxruntime"), ModuleType("embedder.backends.onnx_backend")
    runtime.__spec__ = ModuleSpec("onnxruntime", None)
    backend.__dict__["OnnxBackend"] = FakeOnnx
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.setitem(sys.modules, "embedder.backends.onnx_backend", backend)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(params=["onnxruntime", "onnx"])
def missing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Hide a package that the ONNX backend needs, and return its name."""
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
def test_onnx_is_loaded_with_the_given_settings_if_configured(tiny: Path) -> None:
    files, settings = open_files(tiny), BackendSettings(name="onnx", device="cpu")

    backend = load_backend(files, settings)

    assert isinstance(backend, FakeOnnx)
    assert backend.asked == (files, settings)
    assert backend.notes == ("of onnx",)


@pytest.mark.usefixtures("onnx")
def test_int8_selects_onnx_with_a_note(tiny: Path) -> None:
    backend = _load(tiny, dtype="int8")

    assert backend.name == "onnx"
    assert backend.notes == ("onnx: torch does not compute int8 here", "of onnx")


@pytest.mark.usefixtures("onnx")
def test_a_model_unknown_to_torch_runs_from_its_onnx_graph(unknown: Path) -> None:
    backend = _load(unknown)

    assert backend.name == "onnx"
    assert "of-another-world" in backend.notes[0]
    assert backend.notes[1:] == ("of onnx",)


@pytest.mark.usefixtures("onnx")
def test_a_model_that_no_backend_supports_is_refused(unknown: Path) -> None:
    (unknown / BUNDLED_GRAPH).unlink()

    with pytest.raises(UnsupportedModel, match="of-another-world"):
        _load(unknown)


@pytest.mark.usefixtures("onnx")
def test_a_configured_torch_is_never_replaced_by_onnx(unknown: Path) -> None:
    with pytest.raises(UnsupportedModel, match="of-another-world"):
        _load(unknown, name="torch")


@pytest.mark.usefixtures("onnx")
def test_a_configured_torch_refuses_int8(tiny: Path) -> None:
    with pytest.raises(ConfigurationError, match="int8"):
        _load(tiny, name="torch", dtype="int8")


@pytest.mark.parametrize(
    ("settings", "asking"),
    [({"name": "onnx"}, "backend.name 'onnx'"), ({"dtype": "int8"}, "backend.dtype 'int8'")],
)
def test_a_missing_onnx_package_is_reported_with_the_setting(
    tiny: Path, missing: str, settings: dict[str, str], asking: str
) -> None:
    with pytest.raises(MissingExtra) as caught:
        _load(tiny, **settings)

    assert caught.value.setting == asking
    assert (caught.value.package, caught.value.extra) == (missing, "onnx")


@pytest.mark.usefixtures("missing")
def test_an_onnx_graph_without_its_packages_is_not_used(unknown: Path) -> None:
    with pytest.raises(UnsupportedModel, match="of-another-world"):
        _load(unknown)
