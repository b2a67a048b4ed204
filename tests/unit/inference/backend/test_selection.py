"""The fastest backend that is close to float32 is selected, measured once and stored."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from embedder.backends.precision import Agreement
from embedder.core.errors import BackendFailure, UnsupportedModel
from embedder.core.outputs import OutputKind
from embedder.core.types import Rows, TokenBatch, Vectors
from embedder.inference.backend import selection
from embedder.inference.backend.selection import (
    MIN_GAIN,
    Choice,
    Contender,
    candidates,
    choose,
    fastest,
    random_batch,
)
from embedder.models.files import ModelFiles
from embedder.settings.model import BackendSettings
from tests.tiny_models import write_tiny_bert
from tests.unit.backends.parity import open_files

CLOSE = Agreement(True, "the cosine to float32 is 0.99990", 0.9999)


@dataclass
class FakeBackend:
    """Returns vectors with an error in its first component."""

    name: str
    dtype: str
    error: float = 0.0
    device: str = "cpu"
    width: int = 4
    outputs: tuple[OutputKind, ...] = (OutputKind.DENSE,)
    token_width: int = 0
    padded: bool = False
    max_batch_tokens: int = 2048
    memory_bytes: int = 1
    max_concurrency: int = 1
    notes: tuple[str, ...] = ()

    def encode(self, tokens: TokenBatch) -> Vectors:
        return np.tile(np.array([self.error, 1, 1, 1], np.float32), (len(tokens), 1))

    def compute(
        self, tokens: TokenBatch, kinds: Collection[OutputKind]
    ) -> Mapping[OutputKind, Rows]:
        return {kind: self.encode(tokens) for kind in kinds}


@dataclass
class Loader:
    """Loads fakes with an error for each number format; records the formats."""

    name: str
    errors: Mapping[str, float] = field(default_factory=dict)
    failure: Exception | None = None
    asked: list[str] = field(default_factory=list)

    def __call__(self, files: ModelFiles, settings: BackendSettings) -> FakeBackend:
        self.asked.append(settings.dtype)
        if self.failure is not None:
            raise self.failure
        return FakeBackend(self.name, settings.dtype, self.errors.get(settings.dtype, 0.0))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return open_files(write_tiny_bert(tmp_path_factory.mktemp("tiny-bert")))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the other backend be twice as fast, on a processor with bfloat16."""
    monkeypatch.setattr(selection, "version", lambda name: f"1 of {name}")
    monkeypatch.setattr(selection, "reduced_precision", lambda device: "bfloat16")

    def speeds(files: ModelFiles, backends: Mapping[str, object]) -> dict[str, list[float]]:
        return {name: [1.0 if name == "torch" else 2.0] for name in backends}

    monkeypatch.setattr(selection, "_speeds", speeds)


def _choose(files: ModelFiles, folder: Path, *loaders: Loader, dtype: str = "auto") -> Choice:
    settings = BackendSettings.model_validate(
        {"device": "cpu", "dtype": dtype, "cache_dir": str(folder)}
    )
    return choose(files, settings, {loader.name: loader for loader in loaders})


def test_the_faster_backend_is_selected_in_the_narrow_format(
    files: ModelFiles, tmp_path: Path
) -> None:
    choice = _choose(files, tmp_path, Loader("torch"), Loader("openvino"))

    assert (choice.backend, choice.dtype) == ("openvino", "bfloat16")
    assert choice.note == (
        "openvino: measured speed beside torch: openvino 2.00 (2.00 to 2.00); "
        "bfloat16: the cosine to float32 is 1.00000"
    )


def test_a_later_start_reads_the_choice(files: ModelFiles, tmp_path: Path) -> None:
    first = _choose(files, tmp_path, Loader("torch"), Loader("openvino"))
    torch, openvino = Loader("torch"), Loader("openvino")

    assert _choose(files, tmp_path, torch, openvino) == first
    assert torch.asked == openvino.asked == []
    (path,) = tmp_path.glob("*/selection.json")
    assert json.loads(path.read_text())["backend"] == "openvino"


def test_other_settings_are_measured_again(files: ModelFiles, tmp_path: Path) -> None:
    _choose(files, tmp_path, Loader("torch"), Loader("openvino"))

    choice = _choose(files, tmp_path, Loader("torch"), Loader("openvino"), dtype="float32")

    assert (choice.backend, choice.dtype) == ("openvino", "float32")


def test_a_folder_that_is_not_writable_costs_a_measurement_at_each_start(
    files: ModelFiles, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")

    choice = _choose(files, tmp_path / "file", Loader("torch"), Loader("openvino"))

    assert choice.backend == "openvino"


def test_a_format_that_is_not_close_to_float32_is_left_out(
    files: ModelFiles, tmp_path: Path
) -> None:
    inaccurate = Loader("openvino", {"bfloat16": 0.2})

    choice = _choose(files, tmp_path, Loader("torch"), inaccurate)

    assert inaccurate.asked == ["bfloat16", "float32"]
    assert (choice.backend, choice.dtype) == ("openvino", "float32")


def test_a_stated_format_is_kept_although_torch_is_not_close(
    files: ModelFiles, tmp_path: Path
) -> None:
    errors = {"bfloat16": 0.2}
    loaders = Loader("torch", errors), Loader("openvino", errors)

    choice = _choose(files, tmp_path, *loaders, dtype="bfloat16")

    assert (choice.backend, choice.dtype) == ("torch", "bfloat16")
    assert "no other backend is accurate here" in choice.note


@pytest.mark.parametrize("failure", [BackendFailure("x"), ImportError("y"), OSError("z")])
def test_a_backend_that_fails_is_left_out(
    files: ModelFiles, tmp_path: Path, failure: Exception
) -> None:
    failing = Loader("openvino", failure=failure)

    assert _choose(files, tmp_path, Loader("torch"), failing).backend == "torch"


def test_a_model_that_torch_refuses_is_refused(files: ModelFiles, tmp_path: Path) -> None:
    refusing = Loader("torch", failure=UnsupportedModel("no such model"))

    with pytest.raises(UnsupportedModel, match="no such model"):
        _choose(files, tmp_path, refusing, Loader("openvino"))


@pytest.mark.parametrize(
    ("speeds", "chosen"),
    [
        ([MIN_GAIN, MIN_GAIN], "openvino"),
        ([MIN_GAIN, MIN_GAIN - 0.01], "torch"),
        ([2.0, 0.6], "openvino"),
        ([2.0, 0.5], "torch"),
    ],
)
def test_another_backend_must_be_faster_in_the_mean(speeds: Sequence[float], chosen: str) -> None:
    contenders = {
        name: Contender(FakeBackend(name, "bfloat16"), CLOSE) for name in ("torch", "openvino")
    }

    choice = fastest(contenders, {"torch": [1.0] * len(speeds), "openvino": speeds})

    assert choice.backend == chosen


@pytest.fixture
def openvino_is_hidden() -> None:
    """Show the package."""


def test_only_dense_vectors_on_a_cpu_have_several_candidates(
    files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = BackendSettings(device="cpu")
    # Not importorskip: the package would be imported with its telemetry.
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed: pip install 'embedder[openvino]'")

    assert candidates(files, cpu) == ("torch", "openvino")
    assert candidates(files, cpu.model_copy(update={"dtype": "float16"})) == ("torch",)
    assert candidates(open_files(files.layout.transformer, pooling="max"), cpu) == ("torch",)


def test_a_random_batch_has_the_stated_shape(files: ModelFiles) -> None:
    batch = random_batch(files, 5, 20)

    assert len(batch) == 5
    assert 15 <= batch.lengths.min() <= batch.lengths.max() <= 20
