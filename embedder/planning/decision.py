"""Choose the settings that serve a goal best, from a model and a measured machine.

The order of the goals is: available memory, latency, texts per second. The plan lists every goal
that it misses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embedder.planning.candidates import Candidate, list_candidates
from embedder.planning.goal import Goal, UnmetGoal, unmet_goals
from embedder.planning.machine import MeasuredMachine
from embedder.planning.prediction import PlannedModel, Prediction, predict
from embedder.planning.reasons import SHORTEST_TEXT, Decision, Reason, reasons
from embedder.settings.model import EmbedderSettings


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings, the reason for each decided one, the goals they miss, and their prediction."""

    settings: EmbedderSettings
    reasons: tuple[Reason, ...]
    unmet: tuple[UnmetGoal, ...]
    predicted: Prediction


def decide(
    model: PlannedModel,
    machine: MeasuredMachine,
    goal: Goal,
    requested: EmbedderSettings | None = None,
) -> Plan:
    """Choose number format, threads, token budget, inputs per batch and cache size.

    A number format other than ``auto``, threads and a token budget in ``requested`` are kept.
    Inputs per batch and cache size are lowered where that helps, and never raised.

    Raises:
        ConfigurationError: the machine was not measured with the requested format and threads.
    """
    requested = requested or EmbedderSettings()
    candidates = list_candidates(model, machine, requested, goal.tokens_per_text)
    limit = goal.memory_limit(machine.free_bytes)
    chosen = _best(candidates, limit, goal)
    cache = min(requested.cache.max_bytes, max(0, int(limit) - chosen.predicted.memory_bytes))
    settings = _settings(requested, chosen, machine, cache)
    predicted = predict(
        model, machine, chosen.choice, tokens_per_text=goal.tokens_per_text, cache=cache
    )
    return Plan(
        settings,
        tuple(reasons(Decision(machine, goal, requested, candidates, chosen, settings))),
        tuple(unmet_goals(goal, predicted, machine.free_bytes)),
        predicted,
    )


def _best(candidates: Sequence[Candidate], limit: float, goal: Goal) -> Candidate:
    """Return the candidate with the most texts per second of those within memory and latency.

    If none is within a limit, those closest to it count as within. More memory never gives fewer
    texts per second: every candidate within the latency has one with a smaller budget that is too.
    Ties go to ``auto``, which checks the vectors, then to less memory, then to fewer threads.
    """
    least = min(candidate.predicted.memory_bytes for candidate in candidates)
    fitting = [one for one in candidates if one.predicted.memory_bytes <= max(limit, least)]
    fast = [one for one in fitting if goal.allows_latency(one.predicted)]
    if not fast:
        fastest = min(candidate.predicted.latency_ms for candidate in fitting)
        fast = [one for one in fitting if one.predicted.latency_ms == fastest]

    def rank(candidate: Candidate) -> tuple[float, bool, int, int]:
        predicted, choice = candidate.predicted, candidate.choice
        checked = choice.dtype == "auto"
        return predicted.texts_per_s, checked, -predicted.memory_bytes, -choice.speed.threads

    return max(fast, key=rank)


def _settings(
    requested: EmbedderSettings, chosen: Candidate, machine: MeasuredMachine, cache: int
) -> EmbedderSettings:
    choice = chosen.choice
    items = min(requested.batching.max_items, max(1, choice.tokens // SHORTEST_TEXT))
    values: dict[str, Any] = requested.model_dump()
    values["backend"]["dtype"] = choice.dtype
    if machine.device == "cpu":
        values["backend"]["threads"] = choice.speed.threads
    values["batching"] |= {"max_tokens": choice.tokens, "max_items": items}
    values["cache"]["max_bytes"] = cache
    return type(requested).model_validate(values)
