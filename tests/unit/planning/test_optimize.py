"""A plan is made of the model that the settings name and a machine that is given or measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from embedder.core.errors import ConfigurationError, InvalidInput
from embedder.planning import optimize_for
from embedder.settings.model import BackendSettings, EmbedderSettings, ModelSettings
from tests.tiny_models import write_tiny_bert
from tests.unit.planning.models import USUAL


def test_a_machine_that_is_given_is_not_measured() -> None:
    slower = replace(USUAL, speeds=USUAL.speeds[:1])

    fast, slow = optimize_for(machine=USUAL), optimize_for(machine=slower)

    assert fast.settings.backend.dtype == "auto"
    assert slow.settings.backend.dtype == "float32"
    assert fast.predicted.texts_per_s > slow.predicted.texts_per_s


def test_this_machine_is_measured_with_the_models_shape(tmp_path: Path) -> None:
    settings = EmbedderSettings(
        model=ModelSettings(name=str(write_tiny_bert(tmp_path))),
        backend=BackendSettings(device="cpu", dtype="float32", threads=1),
    )

    plan = optimize_for(settings, tokens_per_text=8, max_memory_gb=1000)

    assert plan.settings.model == settings.model
    assert plan.settings.backend == settings.backend
    assert plan.predicted.texts_per_s > 0


def test_wishes_reach_the_decision() -> None:
    plan = optimize_for(
        machine=USUAL, max_memory_gb=0.001, target_latency_ms=0.001, min_texts_per_s=1e9
    )

    assert len(plan.unmet) == 3


@pytest.mark.parametrize("backend", [BackendSettings(name="onnx"), BackendSettings(dtype="int8")])
def test_what_cannot_be_predicted_is_refused(backend: BackendSettings) -> None:
    with pytest.raises(ConfigurationError, match="only what torch computes"):
        optimize_for(EmbedderSettings(backend=backend), machine=USUAL)


def test_a_wish_that_means_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="tokens_per_text"):
        optimize_for(machine=USUAL, tokens_per_text=0)
