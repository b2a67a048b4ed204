"""Candidates for settings: number formats, threads and token budgets, with their predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from embedder.core.errors import ConfigurationError
from embedder.inference.memory import UNMEASURED_TOKENS, NumberFormats
from embedder.planning.machine import MeasuredMachine
from embedder.planning.prediction import Choice, PlannedModel, Prediction, predict
from embedder.settings.model import EmbedderSettings

SUFFICIENT = 0.95
"""Budgets beyond the first that reaches this share of the highest throughput are left out."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A choice, its prediction without a cache, and the candidate with the next larger budget."""

    choice: Choice
    predicted: Prediction
    larger: Candidate | None = None


def list_candidates(
    model: PlannedModel, machine: MeasuredMachine, requested: EmbedderSettings, tokens_per_text: int
) -> list[Candidate]:
    """Return every allowed candidate, at least one.

    A number format other than ``auto``, threads and a token budget in ``requested`` are kept.

    Raises:
        ConfigurationError: the machine was not measured with the requested format and threads.
    """
    dtype, threads = requested.backend.dtype, requested.backend.threads
    budgets = _budgets(machine, requested.batching.max_tokens, tokens_per_text)
    candidates: list[Candidate] = []
    for speed in machine.speeds:
        if dtype not in ("auto", speed.dtype):
            continue
        if machine.device == "cpu" and threads not in (None, speed.threads):
            continue
        for name, formats in _formats(speed.dtype, dtype):
            choices = [Choice(name, formats, speed, tokens) for tokens in budgets]
            predictions = [
                predict(model, machine, choice, tokens_per_text=tokens_per_text)
                for choice in choices
            ]
            candidates += _useful(choices, predictions)
    if not candidates:
        raise ConfigurationError(
            f"the machine was not measured with backend.dtype {dtype!r} and backend.threads "
            f"{threads}"
        )
    return candidates


def _formats(measured: str, requested: str) -> Iterator[tuple[str, NumberFormats]]:
    """Yield the values of ``backend.dtype`` that compute in a measured format."""
    if requested == "auto" and measured == "bfloat16":
        yield "auto", NumberFormats(("float32", "bfloat16"), "bfloat16")
    yield measured, NumberFormats((measured,), measured)


def _budgets(machine: MeasuredMachine, requested: int | None, tokens_per_text: int) -> list[int]:
    """Return the requested budget, or one text and the powers of two above it."""
    if requested is not None:
        return [requested]
    largest = UNMEASURED_TOKENS[machine.device.partition(":")[0]]
    powers = range(tokens_per_text.bit_length(), largest.bit_length())
    return [tokens_per_text, *(1 << power for power in powers)]


def _useful(choices: list[Choice], predictions: list[Prediction]) -> list[Candidate]:
    """Return the candidates, of ascending budgets, up to the first with sufficient throughput."""
    sufficient = SUFFICIENT * predictions[-1].texts_per_s
    last = next(at for at, one in enumerate(predictions) if one.texts_per_s >= sufficient)
    candidates: list[Candidate] = []
    larger: Candidate | None = None
    for choice, predicted in zip(choices[last::-1], predictions[last::-1], strict=True):
        larger = Candidate(choice, predicted, larger)
        candidates.append(larger)
    return candidates
