"""What a choice of settings will cost and give on a machine: memory, latency, texts a second.

Times are floating point operations by measured speeds, and a few constants that were measured once.
Knows nothing of what is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

from embedder.inference.memory import Formats, Runtime, estimate_size
from embedder.inference.model_size import ModelSize
from embedder.planning.machine import Machine, Speed

EFFICIENCY = {"float32": 0.85, "bfloat16": 0.8, "float16": 0.52}
"""The share of the bare products' speed that a whole model reaches, by number format.

The rest goes to activations, norms and gathers, which weigh more beside faster products. Measured
by processor time, one thread, texts of mixed lengths, with 23 and 110 million parameters: 0.82 and
0.93 in float32, 0.74 and 0.92 in bfloat16, which has kernels of its own; float16 has none.
"""

SCALING = 0.95
"""What is left of that share each time the number of threads doubles, since the last piece of a
batch keeps one thread busy. Measured from one thread to two: 0.96 to 1.01."""

LAYER_S = 1e-4
"""What a layer takes however few its tokens: about a dozen calls into torch."""

IDLE = 2.0
"""How much longer a batch takes on a device that was idle: its caches are cold and its threads
asleep. Measured with pauses of 100 ms: 1.7 to 2.1."""

CALL_S = 1e-3
"""What a call takes beside the model: the way through threads and event loop, and back."""

TEXT_S = 1e-4
"""What a text takes beside the model: its fingerprint, tokens and answer."""


@dataclass(frozen=True, slots=True)
class PlannedModel:
    """A model as plans see it; ``longest`` is the most tokens of one input."""

    size: ModelSize
    runtime: Runtime
    longest: int


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be decided: a number format as the settings name it, its speed, a token budget."""

    dtype: str
    formats: Formats
    speed: Speed
    tokens: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a choice will cost and give.

    ``memory_bytes`` is the peak of the process, or of the device where that is no CPU.
    ``latency_ms`` is that of one text on a busy device: a full batch is being computed, and the
    next full one has the text; ``alone_ms`` is that of one text on an idle device.
    ``texts_per_s`` is that of full batches.
    """

    memory_bytes: int
    latency_ms: float
    alone_ms: float
    texts_per_s: float


def predict(
    model: PlannedModel, machine: Machine, choice: Choice, *, tokens_per_text: int, cache: int = 0
) -> Prediction:
    """Predict a choice for texts of so many tokens."""
    tokens = max(choice.tokens, tokens_per_text)
    batch_s = batch_seconds(model.size, choice.speed, tokens, tokens_per_text)
    alone_s = batch_seconds(model.size, choice.speed, tokens_per_text, tokens_per_text)
    texts = tokens / tokens_per_text
    return Prediction(
        memory_bytes=_memory_bytes(model, machine, choice, cache),
        latency_ms=1e3 * (2 * batch_s + CALL_S + texts * TEXT_S),
        alone_ms=1e3 * (IDLE * alone_s + CALL_S + TEXT_S),
        texts_per_s=texts / (batch_s + texts * TEXT_S),
    )


def batch_seconds(size: ModelSize, speed: Speed, tokens: int, tokens_per_text: int) -> float:
    """Return how long a batch of so many tokens is computed."""
    shape = size.shape
    attention = 4 * tokens_per_text * shape.width * shape.layers
    flops = tokens * (2 * size.matrix_parameters + attention)
    matrices_s = size.matrix_parameters * speed.matrix_s_per_parameter
    products_s = matrices_s + flops / speed.row_flops_per_s
    efficiency = EFFICIENCY[speed.dtype] * float(SCALING ** log2(speed.threads))
    return LAYER_S * shape.layers + products_s / efficiency


def _memory_bytes(model: PlannedModel, machine: Machine, choice: Choice, cache: int) -> int:
    # An input longer than the budget is computed alone.
    tokens = max(choice.tokens, model.longest)
    estimate = estimate_size(model.size, model.runtime, choice.formats, tokens=tokens, cache=cache)
    return estimate.peak if machine.device == "cpu" else estimate.working
