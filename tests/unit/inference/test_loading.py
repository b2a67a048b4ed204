"""Loading checks a model, computes a batch with it and describes it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from embedder.batching.tuning import Tuning
from embedder.core.errors import ConfigurationError, WeightsMismatch
from embedder.inference.loading import load_model
from embedder.inference.memory import BOUNDS
from embedder.settings.model import (
    BackendSettings,
    BatchSettings,
    EmbedderSettings,
    ModelSettings,
)
from tests.tiny_models import write_json, write_layout
from tests.unit.fake_device import Device

FAST = BatchSettings(autotune_s=0)
SHORT = BatchSettings(autotune_s=0.05)


class Described(Device):
    """A device whose attributes all differ from the defaults."""

    memory_bytes = 1234
    max_concurrency = 1
    notes: tuple[str, ...] = ("the device notes this",)
    max_batch_tokens = 321


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a model that can be opened; its weights are no tensors."""
    (write_layout(tmp_path / "tiny") / "model.safetensors").write_bytes(b"weights")
    return tmp_path / "tiny"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Described:
    """Return the device that every model is loaded on."""
    device = Described()
    monkeypatch.setattr("embedder.inference.loading.load_backend", lambda files, settings: device)
    return device


def settings(directory: Path, batching: BatchSettings = FAST, **model: object) -> EmbedderSettings:
    """Return settings that name this model."""
    named = ModelSettings.model_validate({"name": str(directory), **model})
    return EmbedderSettings(model=named, batching=batching)


def test_a_loaded_model_is_described_by_its_files_and_its_backend(
    directory: Path, device: Described
) -> None:
    stated = {
        "prompts": {"query": "find "},
        "default_prompt_name": "query",
        "similarity_fn_name": "dot",
    }
    write_json(directory / "config_sentence_transformers.json", stated)
    model = load_model(settings(directory))
    info = model.info

    assert model.backend is device
    assert (info.name, info.repository, info.revision) == ("tiny", "tiny", "local")
    assert (info.width, info.dtype, info.backend, info.device) == (4, "float32", "test", "cpu")
    assert (info.max_tokens, info.pooling, info.vocabulary_size) == (24, "mean", 56)
    assert (info.prompts, info.default_prompt) == ({"query": "find "}, "query")
    assert (info.similarity, info.matryoshka) == ("dot", ())
    assert info.memory_bytes == 1234
    assert len({info.digest, info.config_digest, info.tokenizer_digest}) == 3
    assert {len(info.digest), len(info.config_digest), len(info.tokenizer_digest)} == {64}


def test_settings_take_precedence_over_files(directory: Path, device: Described) -> None:
    chosen = settings(directory, max_tokens=9, prompts={"query": "own "}, alias="mine")
    info = load_model(chosen).info

    assert (info.max_tokens, info.prompts, info.name) == (9, {"query": "own "}, "mine")


def test_matryoshka_widths_of_the_settings_are_described(
    directory: Path, device: Described
) -> None:
    assert load_model(settings(directory, matryoshka=(4, 2))).info.matryoshka == (4, 2)


def test_a_listed_width_that_the_model_lacks_is_refused(directory: Path, device: Described) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.matryoshka holds 5; 'tiny' has width 4"):
        load_model(settings(directory, matryoshka=(2, 5)))


def test_loading_computes_a_short_and_a_long_input(directory: Path, device: Described) -> None:
    load_model(settings(directory))

    assert [len(row) for row in device.rows] == [1, 24]


def test_assumptions_and_measurements_are_noted_and_logged(
    directory: Path, device: Described, caplog: pytest.LogCaptureFixture
) -> None:
    (directory / "modules.json").unlink()
    with caplog.at_level(logging.INFO, "embedder.inference.loading"):
        notes = load_model(settings(directory, SHORT)).info.notes

    assert notes[0] == "no modules.json: mean pooling is assumed"
    assert notes[1] == "the device notes this"
    assert "tokens a batch: " in notes[2]
    assert caplog.messages[0].startswith("loaded tiny: test float32 on cpu in ")
    assert caplog.messages[1:] == [f"tiny: {note}" for note in notes]


def test_the_budget_is_measured_within_the_bounds_of_the_device(
    directory: Path, device: Described
) -> None:
    model = load_model(settings(directory, SHORT))
    low, high = BOUNDS["cpu"]

    assert model.tuning is not None
    assert low <= model.tuning.max_tokens <= high
    assert model.info.max_batch_tokens == model.tuning.max_tokens
    assert model.info.notes[-1] == (
        f"{model.tuning.max_tokens:,} tokens a batch: {model.tuning.reason}"
    )


@pytest.mark.parametrize(("name", "bounds"), [("cuda:1", "cuda"), ("mps", "mps"), ("cpu", "cpu")])
def test_every_kind_of_device_has_bounds(
    directory: Path, device: Described, monkeypatch: pytest.MonkeyPatch, name: str, bounds: str
) -> None:
    asked: list[object] = []

    def measured(run: object, within: object, **_: object) -> Tuning:
        asked.append(within)
        return Tuning(99, (), "told")

    device.device = name
    monkeypatch.setattr("embedder.inference.loading.tune", measured)

    assert load_model(settings(directory, SHORT)).info.max_batch_tokens == 99
    assert asked == [BOUNDS[bounds]]


def test_measuring_stops_at_the_available_memory(
    directory: Path, device: Described, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "embedder.inference.loading.batch_bytes", lambda shape, dtype, tokens: tokens
    )
    monkeypatch.setattr("embedder.inference.loading.available_bytes", lambda name: 2000)
    tuning = load_model(settings(directory, SHORT)).tuning

    assert tuning is not None
    assert tuning.max_tokens <= 1024
    assert max(sum(map(len, batch)) for batch in device.batches) <= 1024


def test_processes_of_a_service_measure_once(
    directory: Path, device: Described, tmp_path: Path
) -> None:
    shared = BackendSettings(shared_weights=True, cache_dir=str(tmp_path / "cache"))
    service = settings(directory, SHORT).model_copy(update={"backend": shared})
    first = load_model(service)
    computed = len(device.batches)
    second = load_model(service)

    assert second.tuning == first.tuning is not None
    # The second process computes the first batch of a load and one of the budget.
    assert len(device.batches) == computed + 2
    device.dtype = "bfloat16"
    load_model(service)
    assert len(device.batches) > computed + 4


def test_a_configured_budget_is_used_without_measuring(directory: Path, device: Described) -> None:
    model = load_model(settings(directory, BatchSettings(max_tokens=77, autotune_s=5)))

    assert model.info.max_batch_tokens == 77
    assert model.tuning is None
    assert len(device.batches) == 1


def test_without_measuring_the_device_has_its_usual_budget(
    directory: Path, device: Described
) -> None:
    model = load_model(settings(directory))

    assert model.info.max_batch_tokens == 321
    assert model.tuning is None


def test_weights_with_another_digest_are_never_used(directory: Path, device: Described) -> None:
    with pytest.raises(WeightsMismatch):
        load_model(settings(directory, sha256="0" * 64))

    assert device.batches == []
