"""Candidates for settings: number formats, threads and token budgets, with their predictions."""

from __future__ import annotations

from embedder.core.errors import ConfigurationError
from embedder.inference.memory import UNMEASURED_TOKENS
from embedder.planning.goal import Goal
from embedder.planning.machine import MeasuredMachine
from embedder.planning.prediction import Choice, PlannedModel, Prediction, predict
from embedder.settings.model import EmbedderSettings

SUFFICIENT = 0.95
"""Budgets beyond the first that reaches this share of the highest throughput are left out."""


Candidates = dict[Choice, Prediction]
"""The allowed choices, those of one format with ascending budgets, predicted without a cache."""


def list_candidates(
    model: PlannedModel, machine: MeasuredMachine, requested: EmbedderSettings, tokens_per_text: int
) -> Candidates:
    """Return every allowed candidate, at least one.

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
    candidates: Candidates = {}
    for speed in machine.speeds:
        if dtype not in ("auto", speed.dtype):
            continue
        if machine.device == "cpu" and threads not in (None, speed.threads):
            continue
        auto = dtype == "auto" and speed.dtype == "bfloat16"
        for name in ("auto", speed.dtype) if auto else (speed.dtype,):
            choices = [Choice(name, speed, budget) for budget in budgets]
            found = [
                predict(model, machine, choice, tokens_per_text=tokens_per_text)
                for choice in choices
            ]
            enough = SUFFICIENT * found[-1].texts_per_s
            last = next(at for at, one in enumerate(found) if one.texts_per_s >= enough)
            candidates |= dict(zip(choices[: last + 1], found, strict=False))
    if not candidates:
        raise ConfigurationError(
            f"the machine was not measured with backend.dtype {dtype!r} and backend.threads "
            f"{threads}"
        )
    return candidates


def best_choice(candidates: Candidates, limit: float, goal: Goal) -> Choice:
    """Return the choice with the most texts per second of those within memory and latency.

    ``limit`` is the available memory in bytes. If no candidate is within a limit, those closest to
    it count as within. More memory never gives fewer texts per second: every candidate within the
    latency has one with a smaller budget that is too. Ties go to ``auto``, which checks the
    vectors, then to less memory, then to fewer threads.
    """
    limit = max(limit, min(one.memory_bytes for one in candidates.values()))
    fitting = {key: one for key, one in candidates.items() if one.memory_bytes <= limit}
    target_ms = float("inf") if goal.target_latency_ms is None else goal.target_latency_ms
    target_ms = max(target_ms, min(one.latency_ms for one in fitting.values()))

    def rank(choice: Choice) -> tuple[float, bool, int, int]:
        predicted, checked = candidates[choice], choice.dtype == "auto"
        return predicted.texts_per_s, checked, -predicted.memory_bytes, -choice.speed.threads

    return max((key for key, one in fitting.items() if one.latency_ms <= target_ms), key=rank)
