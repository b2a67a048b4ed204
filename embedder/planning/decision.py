"""Which settings serve a goal best: a pure function of a model, a machine and the goal.

What matters, in this order: memory that is there, latency, texts a second. Nothing that is wanted
is given up in silence: what cannot be had is said, and by how much. Measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from embedder.planning.goal import Constraints, Unmet, unmet
from embedder.planning.machine import Machine
from embedder.planning.options import Option, open_options
from embedder.planning.prediction import PlannedModel, Prediction, predict
from embedder.planning.reasons import SHORTEST, Grounds, Reason, reasons
from embedder.settings.model import EmbedderSettings


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings for a goal, why they are so, what they do not reach, and what they will give."""

    settings: EmbedderSettings
    reasons: tuple[Reason, ...]
    unmet: tuple[Unmet, ...]
    predicted: Prediction


def decide(
    model: PlannedModel,
    machine: Machine,
    constraints: Constraints,
    settings: EmbedderSettings | None = None,
) -> Plan:
    """Choose number format, threads, budget, items and cache.

    What ``settings`` name is kept: a number format other than ``auto``, threads, a budget of
    tokens. Items and cache are lowered where it helps, and never raised.

    Raises:
        ConfigurationError: the machine was not measured with what the settings name.
    """
    asked = settings or EmbedderSettings()
    options = open_options(model, machine, asked, constraints.tokens_per_text)
    limit = constraints.memory_limit(machine.free_bytes)
    chosen = _best(options, limit, constraints)
    room = max(0, int(limit) - chosen.predicted.memory_bytes)
    cache = min(asked.cache.max_bytes, room)
    decided = _decided(asked, chosen, machine, cache)
    predicted = predict(
        model, machine, chosen.choice, tokens_per_text=constraints.tokens_per_text, cache=cache
    )
    grounds = Grounds(machine, constraints, asked, options, chosen, decided)
    return Plan(
        settings=decided,
        reasons=tuple(reasons(grounds)),
        unmet=tuple(unmet(constraints, predicted, machine.free_bytes)),
        predicted=predicted,
    )


def _best(options: Sequence[Option], limit: float, constraints: Constraints) -> Option:
    """Take the option with the most texts a second of those in memory and in time.

    Where none is in memory those that take least count as being, and likewise in time. So more
    memory never makes fewer texts: whatever is in time has a smaller budget that is as well.
    """
    least = min(option.predicted.memory_bytes for option in options)
    fitting = [one for one in options if one.predicted.memory_bytes <= max(limit, least)]
    timely = [one for one in fitting if constraints.allows_latency(one.predicted)]
    if not timely:
        soonest = min(option.predicted.latency_ms for option in fitting)
        timely = [one for one in fitting if one.predicted.latency_ms == soonest]
    return max(timely, key=_merit)


def _merit(option: Option) -> tuple[float, bool, int, int]:
    """Rank options: of equal ones, one that is checked, with less memory, and fewer threads."""
    predicted, choice = option.predicted, option.choice
    checked = choice.dtype == "auto"
    return predicted.texts_per_s, checked, -predicted.memory_bytes, -choice.speed.threads


def _decided(
    asked: EmbedderSettings, chosen: Option, machine: Machine, cache: int
) -> EmbedderSettings:
    choice = chosen.choice
    backend: dict[str, Any] = {"dtype": choice.dtype}
    if machine.device == "cpu":
        backend["threads"] = choice.speed.threads
    items = min(asked.batching.max_items, max(1, choice.tokens // SHORTEST))
    said = asked.model_dump()
    said["backend"] |= backend
    said["batching"] |= {"max_tokens": choice.tokens, "max_items": items}
    said["cache"] |= {"max_bytes": cache}
    return type(asked).model_validate(said)
