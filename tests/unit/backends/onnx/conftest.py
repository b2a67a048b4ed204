"""The tiny model in the onnx backend; its graphs are exported once per session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from embedder.backends.onnx_backend import OnnxBackend
from embedder.core.types import TokenBatch
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings, ModelSettings, PoolingName
from tests.tiny_models import VOCABULARY
from tests.unit.backends.parity import POSITIONS


def load_onnx(
    directory: Path, cache: Path, pooling: PoolingName | None = None, **settings: Any
) -> OnnxBackend:
    files = ModelFiles.open(ModelSettings(name=str(directory), pooling=pooling))
    given = {"name": "onnx", "device": "cpu", "cache_dir": str(cache), **settings}
    return OnnxBackend.load(files, BackendSettings.model_validate(given))


def random_tokens(count: int) -> TokenBatch:
    numbers = np.random.default_rng(1)
    sizes = numbers.integers(1, POSITIONS + 1, size=count)
    return TokenBatch.of(
        [numbers.integers(0, len(VOCABULARY), size=size).astype(np.int32) for size in sizes]
    )


@pytest.fixture(scope="session")
def cache(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the graphs of the tiny model: an export takes seconds."""
    folder = tmp_path_factory.mktemp("graphs")
    load_onnx(tiny, folder, dtype="int8")
    return folder


@pytest.fixture(scope="session")
def exact(tiny: Path, cache: Path) -> OnnxBackend:
    return load_onnx(tiny, cache)


@pytest.fixture(scope="session")
def narrow(tiny: Path, cache: Path) -> OnnxBackend:
    return load_onnx(tiny, cache, dtype="int8")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ONNX Runtime report a GPU."""
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
