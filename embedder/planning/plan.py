"""Read the model, measure this machine, and decide on settings."""

from __future__ import annotations

from embedder.core.errors import ConfigurationError
from embedder.inference.memory import expected_runtime
from embedder.models.files import ModelFiles
from embedder.models.model_size import ModelSize
from embedder.planning.decision import Plan, decide
from embedder.planning.goal import Goal
from embedder.planning.machine import MeasuredMachine, measure
from embedder.planning.prediction import PlannedModel
from embedder.settings.model import EmbedderSettings


def plan_settings(
    settings: EmbedderSettings, goal: Goal, machine: MeasuredMachine | None = None
) -> Plan:
    """Return a plan for a goal; ``machine`` None measures this machine for about a second.

    Nothing else in this process should compute during the measurement. The model is not loaded.

    Raises:
        ConfigurationError: the model is missing or unsafe, or the settings select ONNX or int8,
            which cannot be predicted.
    """
    backend = settings.backend
    files = ModelFiles.open(settings.model)
    runtime = expected_runtime(files.config, backend)
    if runtime == "onnx":
        raise ConfigurationError(
            f"no plan can be made for backend.name {backend.name!r} with backend.dtype "
            f"{backend.dtype!r}: only what torch computes is predicted"
        )
    model = PlannedModel(ModelSize.of(files), runtime, files.max_tokens)
    machine = machine or measure(
        model.size.shape,
        device=backend.device,
        dtypes=() if backend.dtype == "auto" else (backend.dtype,),
        threads=() if backend.threads is None else (backend.threads,),
    )
    return decide(model, machine, goal, settings)
