"""Choose settings for a process, from a goal, a model and a measured machine.

The order of the goals is: available memory, latency, texts per second. The plan lists every goal
that it misses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from embedder.core.errors import ConfigurationError
from embedder.inference.memory import expected_runtime
from embedder.models.files import ModelFiles
from embedder.models.model_size import ModelSize
from embedder.planning.candidates import Candidates, best_choice, list_candidates
from embedder.planning.goal import GB, Goal, UnmetGoal, show, unmet_goals
from embedder.planning.machine import MeasuredMachine, measure
from embedder.planning.prediction import Choice, PlannedModel, Prediction, predict
from embedder.settings.model import EmbedderSettings

SHORTEST_TEXT = 3
"""Tokens of the shortest text: two special tokens and one of its own."""

AS_REQUESTED = "as the settings say"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a setting has its value."""

    setting: str
    value: Any
    sentence: str

    def __str__(self) -> str:
        return f"{self.setting} = {self.value}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings that serve a goal on a machine, and the inputs of the decision.

    ``requested`` are the settings before the decision, ``choice`` is one of the ``candidates``, and
    ``predicted`` its prediction with the cache of the settings.
    """

    machine: MeasuredMachine
    goal: Goal
    requested: EmbedderSettings
    candidates: Candidates
    choice: Choice
    settings: EmbedderSettings
    predicted: Prediction

    @property
    def unmet(self) -> tuple[UnmetGoal, ...]:
        """Return the goals that the prediction misses."""
        return tuple(unmet_goals(self.goal, self.predicted, self.machine.free_bytes))

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Return a reason for every setting that was decided."""
        before, after = self.requested, self.settings
        items = AS_REQUESTED
        if after.batching.max_items != before.batching.max_items:
            shortest = f"no more of the shortest texts, of {SHORTEST_TEXT} tokens,"
            items = f"{shortest} fit into {after.batching.max_tokens} tokens"
        cached, wanted = after.cache.max_bytes, before.cache.max_bytes
        cache = f"{AS_REQUESTED}; it fits into memory"
        if cached != wanted:
            cache = f"{show(cached / 2**20)} MiB of {show(wanted / 2**20)} MiB fit beside the model"
        reasons = [
            Reason("batching.max_tokens", after.batching.max_tokens, self._tokens()),
            Reason("batching.max_items", after.batching.max_items, items),
            Reason("cache.max_bytes", cached, cache),
        ]
        if self.machine.device == "cpu":
            reasons.insert(0, Reason("backend.threads", after.backend.threads, self._threads()))
        return Reason("backend.dtype", after.backend.dtype, self._dtype()), *reasons

    def _dtype(self) -> str:
        if self.requested.backend.dtype != "auto":
            return AS_REQUESTED
        choice, speed = self.choice, self.choice.speed
        rates = ", ".join(
            f"{other.dtype} {show(other.row_flops_per_s / 1e9)}"
            for other in self.machine.speeds
            if other.threads == speed.threads
        )
        sentence = f"{speed.dtype} is the best measured format, in GFLOP/s: {rates}"
        if choice.dtype == "auto":
            return f"{sentence}; auto checks that its vectors agree with float32"
        if (auto := self.candidates.get(replace(choice, dtype="auto"))) is None:
            return sentence
        held, needed = (one.memory_bytes / GB for one in (auto, self.candidates[choice]))
        return (
            f"{sentence}; auto would hold float32 beside it while loading, {show(held)} GB "
            f"instead of {show(needed)}"
        )

    def _threads(self) -> str:
        if self.requested.backend.threads is not None:
            return AS_REQUESTED
        # The last candidate for a number of threads has the largest budget, which is the fastest.
        best = {
            choice.speed.threads: predicted.texts_per_s
            for choice, predicted in self.candidates.items()
            if choice.dtype == self.choice.dtype
        }
        rates = ", ".join(f"{threads}: {show(best[threads])}" for threads in sorted(best))
        return f"{self.machine.cores} cores; highest texts per second by threads: {rates}"

    def _tokens(self) -> str:
        choice, predicted = self.choice, self.candidates[self.choice]
        sentence = (
            f"texts of {self.goal.tokens_per_text} tokens: {show(predicted.texts_per_s)} per "
            f"second, each within {show(predicted.latency_ms)} ms, alone in "
            f"{show(predicted.alone_ms)} ms; "
        )
        if self.requested.batching.max_tokens is not None:
            return sentence + AS_REQUESTED
        larger = [one for one in self.candidates if one.tokens > choice.tokens]
        larger = [one for one in larger if replace(one, tokens=choice.tokens) == choice]
        if not larger:
            return sentence + "more tokens would gain less than 5 %"
        needed = self.candidates[larger[0]]
        limit = self.goal.memory_limit(self.machine.free_bytes)
        cost = f"{show(needed.latency_ms)} ms"
        if needed.memory_bytes > limit:
            cost = f"{show(needed.memory_bytes / GB)} GB of {show(limit / GB)} GB"
        return f"{sentence}{larger[0].tokens} would take {cost}"


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
    tokens_per_text, limit = goal.tokens_per_text, goal.memory_limit(machine.free_bytes)
    candidates = list_candidates(model, machine, requested, tokens_per_text)
    choice = best_choice(candidates, limit, goal)
    left = int(limit) - candidates[choice].memory_bytes
    cache = min(requested.cache.max_bytes, max(0, left))
    items = min(requested.batching.max_items, max(1, choice.tokens // SHORTEST_TEXT))
    values: dict[str, Any] = requested.model_dump()
    values["backend"]["dtype"] = choice.dtype
    if machine.device == "cpu":
        values["backend"]["threads"] = choice.speed.threads
    values["batching"] |= {"max_tokens": choice.tokens, "max_items": items}
    values["cache"]["max_bytes"] = cache
    settings = type(requested).model_validate(values)
    predicted = predict(model, machine, choice, tokens_per_text=tokens_per_text, cache=cache)
    return Plan(machine, goal, requested, candidates, choice, settings, predicted)
