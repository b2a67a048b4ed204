"""Candidates for settings: number formats, threads and token budgets, with their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedder.core.errors import ConfigurationError
from embedder.inference.memory import UNMEASURED_TOKENS
from embedder.planning.goal import Goal
from embedder.planning.machine import MeasuredMachine
from embedder.planning.prediction import Choice, PlannedModel, Prediction, predict
from embedder.settings.model import EmbedderSettings

SUFFICIENT = 0.95
"""Budgets beyond the first that reaches this share of the highest throughput are left out."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A choice, and its prediction without a cache."""

    choice: Choice
    predicted: Prediction


def list_candidates(
    model: PlannedModel, machine: MeasuredMachine, requested: EmbedderSettings, tokens_per_text: int
) -> list[Candidate]:
    """Return every allowed candidate, at least one; those of one format have ascending budgets.

    A number format other than ``auto``, threads and a token budget in ``requested`` are kept.

    Raises:
        ConfigurationError: the machine was not measured with the requested format and threads.
    """
    dtype, threads = requested.backend.dtype, requested.backend.threads
    if (tokens := requested.batching.max_tokens) is not None:
        budgets = [tokens]
    else:
        largest = UNMEASURED_TOKENS[machine.device.partition(":")[0]]
        powers = range(tokens_per_text.bit_length(), largest.bit_length())
        budgets = [tokens_per_text, *(1 << power for power in powers)]
    candidates: list[Candidate] = []
    for speed in machine.speeds:
        if dtype not in ("auto", speed.dtype):
            continue
        if machine.device == "cpu" and threads not in (None, speed.threads):
            continue
        for name in dict.fromkeys(
            [dtype if speed.dtype == "bfloat16" else speed.dtype, speed.dtype]
        ):
            choices = [Choice(name, speed, budget) for budget in budgets]
            found = [
                Candidate(one, predict(model, machine, one, tokens_per_text=tokens_per_text))
                for one in choices
            ]
            candidates += _useful(found)
    if not candidates:
        raise ConfigurationError(
            f"the machine was not measured with backend.dtype {dtype!r} and backend.threads "
            f"{threads}"
        )
    return candidates


def _useful(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """Return the candidates up to the first with sufficient throughput."""
    rates = [candidate.predicted.texts_per_s for candidate in candidates]
    last = next(at for at, rate in enumerate(rates) if rate >= SUFFICIENT * rates[-1])
    return candidates[: last + 1]


def best_candidate(candidates: Sequence[Candidate], limit: float, goal: Goal) -> Candidate:
    """Return the candidate with the most texts per second of those within memory and latency.

    ``limit`` is the available memory in bytes. If no candidate is within a limit, those closest to
    it count as within. More memory never gives fewer texts per second: every candidate within the
    latency has one with a smaller budget that is too. Ties go to ``auto``, which checks the
    vectors, then to less memory, then to fewer threads.
    """
    limit = max(limit, min(one.predicted.memory_bytes for one in candidates))
    fitting = [one for one in candidates if one.predicted.memory_bytes <= limit]
    target_ms = float("inf") if goal.target_latency_ms is None else goal.target_latency_ms
    target_ms = max(target_ms, min(one.predicted.latency_ms for one in fitting))

    def rank(candidate: Candidate) -> tuple[float, bool, int, int]:
        predicted, choice = candidate.predicted, candidate.choice
        checked = choice.dtype == "auto"
        return predicted.texts_per_s, checked, -predicted.memory_bytes, -choice.speed.threads

    return max((one for one in fitting if one.predicted.latency_ms <= target_ms), key=rank)
