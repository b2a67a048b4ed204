"""One sentence for each setting that a plan decides, with the numbers that decided it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from embedder.planning.candidates import Candidate
from embedder.planning.goal import GB, Goal, show
from embedder.planning.machine import MeasuredMachine
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
class Decision:
    """The inputs of a decision and its result."""

    machine: MeasuredMachine
    goal: Goal
    requested: EmbedderSettings
    candidates: Sequence[Candidate]
    chosen: Candidate
    settings: EmbedderSettings


def reasons(decision: Decision) -> Iterator[Reason]:
    """Yield a reason for every setting that a plan decides."""
    backend, batching = decision.settings.backend, decision.settings.batching
    yield Reason("backend.dtype", backend.dtype, _dtype(decision))
    if decision.machine.device == "cpu":
        yield Reason("backend.threads", backend.threads, _threads(decision))
    yield Reason("batching.max_tokens", batching.max_tokens, _tokens(decision))
    yield Reason("batching.max_items", batching.max_items, _items(decision))
    yield Reason("cache.max_bytes", decision.settings.cache.max_bytes, _cache(decision))


def _dtype(decision: Decision) -> str:
    if decision.requested.backend.dtype != "auto":
        return AS_REQUESTED
    chosen, speed = decision.chosen, decision.chosen.choice.speed
    rates = ", ".join(
        f"{other.dtype} {show(other.row_flops_per_s / 1e9)}"
        for other in decision.machine.speeds
        if other.threads == speed.threads
    )
    sentence = f"{speed.dtype} is the best measured format, in GFLOP/s: {rates}"
    if speed.dtype != "bfloat16":
        return sentence
    if chosen.choice.dtype == "auto":
        return f"{sentence}; auto checks that its vectors agree with float32"
    auto_bytes = next(
        candidate.predicted.memory_bytes
        for candidate in decision.candidates
        if (candidate.choice.dtype, candidate.choice.speed) == ("auto", speed)
        and candidate.choice.tokens == chosen.choice.tokens
    )
    return (
        f"{sentence}; auto would hold float32 beside it while loading, {show(auto_bytes / GB)} GB "
        f"instead of {show(chosen.predicted.memory_bytes / GB)}"
    )


def _threads(decision: Decision) -> str:
    if decision.requested.backend.threads is not None:
        return AS_REQUESTED
    best: dict[int, float] = {}
    for candidate in decision.candidates:
        if candidate.choice.formats == decision.chosen.choice.formats:
            threads = candidate.choice.speed.threads
            best[threads] = max(best.get(threads, 0.0), candidate.predicted.texts_per_s)
    rates = ", ".join(f"{threads}: {show(best[threads])}" for threads in sorted(best))
    return f"{decision.machine.cores} cores; highest texts per second by threads: {rates}"


def _tokens(decision: Decision) -> str:
    predicted, larger = decision.chosen.predicted, decision.chosen.larger
    sentence = (
        f"texts of {decision.goal.tokens_per_text} tokens: {show(predicted.texts_per_s)} per "
        f"second, each within {show(predicted.latency_ms)} ms, alone in "
        f"{show(predicted.alone_ms)} ms; "
    )
    if decision.requested.batching.max_tokens is not None:
        return sentence + AS_REQUESTED
    if larger is None:
        return sentence + "more tokens would gain less than 5 %"
    needed, limit = larger.predicted, decision.goal.memory_limit(decision.machine.free_bytes)
    if needed.memory_bytes > limit:
        memory = f"{show(needed.memory_bytes / GB)} GB of {show(limit / GB)} GB"
        return sentence + f"{larger.choice.tokens} would take {memory}"
    return sentence + f"{larger.choice.tokens} would take {show(needed.latency_ms)} ms"


def _items(decision: Decision) -> str:
    tokens, items = decision.chosen.choice.tokens, decision.settings.batching.max_items
    if items == decision.requested.batching.max_items:
        return AS_REQUESTED
    return f"no more of the shortest texts, of {SHORTEST_TEXT} tokens, fit into {tokens} tokens"


def _cache(decision: Decision) -> str:
    requested, given = decision.requested.cache.max_bytes, decision.settings.cache.max_bytes
    if requested == given:
        return f"{AS_REQUESTED}; it fits into memory"
    return f"{show(given / 2**20)} MiB of {show(requested / 2**20)} MiB fit beside the model"
