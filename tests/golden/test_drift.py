"""A default model with other vectors than the published ones is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch

from embedder.backends.torch.backend import TorchBackend
from embedder.backends.torch.packed import PackedForward
from embedder.core.errors import ModelDrift
from embedder.inference.backend.load import load_backend
from embedder.inference.loading import load_model
from embedder.models.catalogue import find_row
from embedder.models.catalogue_row import CatalogueRow, GoldenVector
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings, BatchSettings, EmbedderSettings, ModelSettings

SETTINGS = EmbedderSettings(
    model=ModelSettings(offline=True),
    backend=BackendSettings(dtype="float32", device="cpu"),
    batching=BatchSettings(autotune_s=0),
)
FILES = ModelFiles.open(SETTINGS.model)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def backend(request: pytest.FixtureRequest) -> TorchBackend:
    settings = BackendSettings.model_validate(
        {"name": "torch", "dtype": request.param, "device": "cpu"}
    )
    backend = load_backend(FILES, settings)
    assert isinstance(backend, TorchBackend)
    return backend


@pytest.fixture
def loaded_before(backend: TorchBackend, monkeypatch: pytest.MonkeyPatch) -> TorchBackend:
    """Make every load return the same backend, whose matrices a test may scale."""
    monkeypatch.setattr("embedder.inference.loading.load_backend", lambda files, settings: backend)
    return backend


def matrices(backend: TorchBackend) -> dict[str, torch.Tensor]:
    """Return the matrices of the layers by name."""
    forward = backend._forward
    assert isinstance(forward, PackedForward)
    named = [
        (f"{at}.{name}", getattr(layer, name))
        for name in ("qkv", "up", "down")
        for at, layer in enumerate(forward._onednn.weights if forward._onednn else forward._layers)
    ]
    return {name: getattr(linear, "weight", linear) for name, linear in named}


@pytest.fixture
def disturbed(loaded_before: TorchBackend) -> Iterator[Callable[[str, float], None]]:
    """Return a function that scales a matrix until the test ends."""
    kept = {name: matrix.clone() for name, matrix in matrices(loaded_before).items()}

    def disturb(name: str, factor: float) -> None:
        matrices(loaded_before)[name].mul_(factor)

    yield disturb
    for name, matrix in matrices(loaded_before).items():
        matrix.copy_(kept[name])


def published() -> CatalogueRow:
    """Return the row of the default model."""
    row = find_row(SETTINGS.model.name)
    assert row is not None
    assert row.golden
    return row


@pytest.mark.usefixtures("loaded_before")
def test_the_unchanged_model_passes() -> None:
    info = load_model(SETTINGS).info

    assert info.digest == published().sha256


SCALED = [("float32", name) for name in ("0.qkv", "0.up", "2.down", "5.qkv", "5.down")]


@pytest.mark.parametrize(
    ("backend", "name"),
    [*SCALED, ("bfloat16", "0.qkv"), ("bfloat16", "5.down")],
    indirect=["backend"],
)
def test_a_matrix_scaled_by_one_percent_is_detected(
    disturbed: Callable[[str, float], None], backend: TorchBackend, name: str
) -> None:
    """bfloat16 itself differs by one percent, so there the factor is larger."""
    disturbed(name, 1.01 if backend.dtype == "float32" else 1.3)

    with pytest.raises(ModelDrift, match="all-MiniLM-L6-v2"):
        load_model(SETTINGS)


@pytest.mark.usefixtures("loaded_before")
def test_a_wrong_vector_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    (golden, *_) = published().golden
    wrong = GoldenVector(golden.text, tuple(-value for value in golden.vector))
    row = replace(published(), golden=(wrong,))
    monkeypatch.setattr("embedder.models.weights.find_row", lambda name: row)

    with pytest.raises(ModelDrift, match="What is Deep Learning"):
        load_model(SETTINGS)


@pytest.mark.usefixtures("loaded_before")
@pytest.mark.parametrize("chosen", [{"pooling": "cls"}, {"max_tokens": 4}])
def test_vectors_of_changed_settings_are_not_compared(
    monkeypatch: pytest.MonkeyPatch, chosen: dict[str, object]
) -> None:
    (golden, *_) = published().golden
    wrong = GoldenVector(golden.text, tuple(-value for value in golden.vector))
    monkeypatch.setattr(
        "embedder.models.weights.find_row", lambda name: replace(published(), golden=(wrong,))
    )
    model = ModelSettings.model_validate({"offline": True, **chosen})

    assert load_model(SETTINGS.model_copy(update={"model": model})).tuning is None
