"""Predict the memory, latency and throughput of a choice of settings on a measured machine.

Times follow from floating point operations, measured speeds and a few measured constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

from embedder.inference.memory import NumberFormats, Runtime, estimate
from embedder.models.model_size import ModelSize
from embedder.planning.machine import MeasuredMachine, Speed

EFFICIENCY = {"float32": 0.85, "bfloat16": 0.8, "float16": 0.52}
"""The share of the speed of matrix products that a whole model reaches, by number format.

Activations, norms and gathers take the rest. Measured by processor time with one thread and texts
of mixed lengths, for 23 and 110 million parameters: 0.82 and 0.93 in float32, 0.74 and 0.92 in
bfloat16, which has its own kernels; float16 does not.
"""

SCALING = 0.95
"""Factor on `EFFICIENCY` for each doubling of the threads, because the last micro-batch keeps only
one thread busy. Measured from one thread to two: 0.96 to 1.01."""

LAYER_S = 1e-4
"""Seconds that a layer takes for any number of tokens: about a dozen calls into torch."""

IDLE = 2.0
"""Factor on the time of a batch after an idle period, when caches are cold and threads sleep.
Measured with pauses of 100 ms: 1.7 to 2.1."""

CALL_S = 1e-3
"""Seconds of a call outside of the model: threads and the event loop."""

TEXT_S = 1e-4
"""Seconds of a text outside of the model: fingerprint, tokenization and output."""


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """The size of a model; ``longest`` is the limit of tokens per input."""

    size: ModelSize
    runtime: Runtime
    longest: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of settings: ``backend.dtype``, the speed of its format, and a token budget."""

    dtype: str
    speed: Speed
    tokens: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """The predicted memory and speed of a choice.

    ``memory_bytes`` is the peak of the process, or of the device if that is not a CPU.
    ``latency_ms`` is the latency of one text on a busy device: it waits for one full batch, and is
    computed in the next. ``alone_ms`` is the latency on an idle device. ``texts_per_s`` is the
    throughput of full batches.
    """

    memory_bytes: int
    latency_ms: float
    alone_ms: float
    texts_per_s: float


def predict(
    model: PlannedModel,
    machine: MeasuredMachine,
    choice: Choice,
    *,
    tokens_per_text: int,
    cache: int = 0,
) -> Prediction:
    """Predict a choice for texts of ``tokens_per_text`` and ``cache`` bytes of cache."""
    tokens = max(choice.tokens, tokens_per_text)
    batch_s = batch_seconds(model.size, choice.speed, tokens, tokens_per_text)
    alone_s = batch_seconds(model.size, choice.speed, tokens_per_text, tokens_per_text)
    texts = tokens / tokens_per_text
    memory = estimate(
        model.size,
        model.runtime,
        NumberFormats.of(choice.dtype, model.runtime, bfloat16=True),
        tokens=max(choice.tokens, model.longest),  # a longer input than the budget runs alone
        cache=cache,
    )
    return Prediction(
        memory_bytes=memory.peak if machine.device == "cpu" else memory.working,
        latency_ms=1e3 * (2 * batch_s + CALL_S + texts * TEXT_S),
        alone_ms=1e3 * (IDLE * alone_s + CALL_S + TEXT_S),
        texts_per_s=texts / (batch_s + texts * TEXT_S),
    )


def batch_seconds(size: ModelSize, speed: Speed, tokens: int, tokens_per_text: int) -> float:
    """Return the seconds that the model computes a batch of ``tokens``."""
    shape = size.shape
    attention = 4 * tokens_per_text * shape.width * shape.layers
    flops = tokens * (2 * size.matrix_parameters + attention)
    matrices_s = size.matrix_parameters * speed.matrix_s_per_parameter
    products_s = matrices_s + flops / speed.row_flops_per_s
    efficiency = EFFICIENCY[speed.dtype] * float(SCALING ** log2(speed.threads))
    return LAYER_S * shape.layers + products_s / efficiency
