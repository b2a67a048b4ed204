"""Settings for this machine and a goal: read the model, measure the machine, decide.

The only part of planning that reads or measures; `decision` decides.
"""

from __future__ import annotations

from embedder.core.errors import ConfigurationError
from embedder.inference.memory import runtime_of
from embedder.inference.model_size import ModelSize
from embedder.models.files import ModelFiles
from embedder.planning.decision import Plan, decide
from embedder.planning.goal import Constraints
from embedder.planning.machine import Machine, measure
from embedder.planning.prediction import PlannedModel
from embedder.settings.model import EmbedderSettings


def optimize_for(
    settings: EmbedderSettings | None = None,
    *,
    max_memory_gb: float | None = None,
    target_latency_ms: float | None = None,
    min_texts_per_s: float | None = None,
    machine: Machine | None = None,
    tokens_per_text: int = 64,
) -> Plan:
    """Return settings that serve a goal on a machine, with reasons and what is out of reach.

    Without a ``machine``, this one is measured for about a second; nothing else of this process
    should compute meanwhile. The model itself is not loaded. A GB is 10^9 bytes; what the latency
    is of, `Prediction` says.

    Raises:
        InvalidInput: a number that is wanted is not above 0.
        ConfigurationError: the model is missing or unsafe, or the settings name ONNX or eight
            bits, for which nothing can be predicted.
    """
    settings = settings or EmbedderSettings()
    constraints = Constraints(
        max_memory_gb=max_memory_gb,
        target_latency_ms=target_latency_ms,
        min_texts_per_s=min_texts_per_s,
        tokens_per_text=tokens_per_text,
    )
    files = ModelFiles.open(settings.model)
    runtime = runtime_of(files.config, settings.backend)
    if runtime == "onnx":
        raise ConfigurationError(
            f"no plan can be made for backend.name {settings.backend.name!r} with backend.dtype "
            f"{settings.backend.dtype!r}: only what torch computes is predicted"
        )
    model = PlannedModel(ModelSize.of(files), runtime, files.max_tokens)
    return decide(model, machine or _measured(model, settings), constraints, settings)


def _measured(model: PlannedModel, settings: EmbedderSettings) -> Machine:
    backend = settings.backend
    return measure(
        model.size.shape,
        device=backend.device,
        dtypes=() if backend.dtype == "auto" else (backend.dtype,),
        threads=() if backend.threads is None else (backend.threads,),
    )
