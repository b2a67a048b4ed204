"""A plan is made from the model that the settings name and a given or measured machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from embedder.core.errors import ConfigurationError
from embedder.planning.goal import Goal
from embedder.planning.plan import plan_settings
from embedder.settings.model import BackendSettings, EmbedderSettings, ModelSettings
from tests.tiny_models import write_tiny_bert
from tests.unit.planning.models import USUAL


def test_a_given_machine_is_not_measured() -> None:
    slower = replace(USUAL, speeds=USUAL.speeds[:1])

    fast, slow = (plan_settings(EmbedderSettings(), Goal(), one) for one in (USUAL, slower))

    assert fast.settings.backend.dtype == "auto"
    assert slow.settings.backend.dtype == "float32"
    assert fast.predicted.texts_per_s > slow.predicted.texts_per_s


def test_this_machine_is_measured_with_the_shape_of_the_model(tmp_path: Path) -> None:
    settings = EmbedderSettings(
        model=ModelSettings(name=str(write_tiny_bert(tmp_path))),
        backend=BackendSettings(device="cpu", dtype="float32", threads=1),
    )

    plan = plan_settings(settings, Goal(tokens_per_text=8, max_memory_gb=1000))

    assert plan.settings.model == settings.model
    assert plan.settings.backend == settings.backend
    assert plan.predicted.texts_per_s > 0


def test_every_goal_reaches_the_decision() -> None:
    goal = Goal(max_memory_gb=0.001, target_latency_ms=0.001, min_texts_per_s=1e9)

    assert len(plan_settings(EmbedderSettings(), goal, USUAL).unmet) == 3


@pytest.mark.parametrize("backend", [BackendSettings(name="onnx"), BackendSettings(dtype="int8")])
def test_a_backend_without_predictions_is_refused(backend: BackendSettings) -> None:
    with pytest.raises(ConfigurationError, match="only what torch computes"):
        plan_settings(EmbedderSettings(backend=backend), Goal(), USUAL)
