"""Why a plan's settings are as they are: a sentence each, with the numbers that decided.

Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from embedder.planning.goal import GB, Constraints, show
from embedder.planning.machine import Machine
from embedder.planning.options import Option
from embedder.settings.model import EmbedderSettings

SHORTEST = 3
"""Tokens of the shortest text: two special ones, and its own."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a setting has its value."""

    setting: str
    value: Any
    sentence: str

    def __str__(self) -> str:
        return f"{self.setting} = {self.value}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a decision was made on, and what it came to."""

    machine: Machine
    constraints: Constraints
    asked: EmbedderSettings
    options: Sequence[Option]
    chosen: Option
    settings: EmbedderSettings


def reasons(grounds: Grounds) -> Iterator[Reason]:
    """Give a reason for every setting that a plan decides."""
    settings = grounds.settings
    yield Reason("backend.dtype", settings.backend.dtype, _dtype(grounds))
    if grounds.machine.device == "cpu":
        yield Reason("backend.threads", settings.backend.threads, _threads(grounds))
    yield Reason("batching.max_tokens", settings.batching.max_tokens, _tokens(grounds))
    yield Reason("batching.max_items", settings.batching.max_items, _items(grounds))
    yield Reason("cache.max_bytes", settings.cache.max_bytes, _cache(grounds))


def _dtype(grounds: Grounds) -> str:
    choice = grounds.chosen.choice
    if grounds.asked.backend.dtype != "auto":
        return "as the settings say"
    speed = choice.speed
    rates = ", ".join(
        f"{other.dtype} {show(other.row_flops_per_s / 1e9)}"
        for other in grounds.machine.speeds
        if other.threads == speed.threads
    )
    sentence = f"{speed.dtype} is the best of what was measured, in GFLOP/s: {rates}"
    if speed.dtype != "bfloat16":
        return sentence
    if choice.dtype == "auto":
        return f"{sentence}; auto makes sure that its vectors agree with float32"
    checked = next(
        option.predicted.memory_bytes
        for option in grounds.options
        if (option.choice.dtype, option.choice.speed) == ("auto", speed)
        and option.choice.tokens == choice.tokens
    )
    return (
        f"{sentence}; auto would hold float32 beside it while loading, {show(checked / GB)} GB "
        f"rather than {show(grounds.chosen.predicted.memory_bytes / GB)}"
    )


def _threads(grounds: Grounds) -> str:
    chosen = grounds.chosen
    if grounds.asked.backend.threads is not None:
        return "as the settings say"
    best = {
        option.choice.speed.threads: option.predicted.texts_per_s
        for option in sorted(grounds.options, key=lambda option: option.predicted.texts_per_s)
        if option.choice.formats == chosen.choice.formats
    }
    rates = ", ".join(f"{count}: {show(best[count])}" for count in sorted(best))
    return f"{grounds.machine.cores} cores; texts a second at best by threads: {rates}"


def _tokens(grounds: Grounds) -> str:
    chosen = grounds.chosen
    text = grounds.constraints.tokens_per_text
    sentence = (
        f"texts of {text} tokens: {show(chosen.predicted.texts_per_s)} a second, each within "
        f"{show(chosen.predicted.latency_ms)} ms, alone in {show(chosen.predicted.alone_ms)}; "
    )
    if grounds.asked.batching.max_tokens is not None:
        return sentence + "as the settings say"
    larger = chosen.larger
    if larger is None:
        return sentence + "more tokens would gain less than a twentieth"
    limit = grounds.constraints.memory_limit(grounds.machine.free_bytes)
    if larger.predicted.memory_bytes > limit:
        needed, there = show(larger.predicted.memory_bytes / GB), show(limit / GB)
        return sentence + f"{larger.choice.tokens} would take {needed} GB of {there} GB"
    return sentence + f"{larger.choice.tokens} would take {show(larger.predicted.latency_ms)} ms"


def _items(grounds: Grounds) -> str:
    tokens, items = grounds.chosen.choice.tokens, grounds.settings.batching.max_items
    if items == grounds.asked.batching.max_items:
        return "as the settings say"
    return f"no more texts of {SHORTEST} tokens, the shortest there are, go into {tokens}"


def _cache(grounds: Grounds) -> str:
    asked, given = grounds.asked.cache.max_bytes, grounds.settings.cache.max_bytes
    if asked == given:
        return "as the settings say; there is room for it"
    return f"{show(given / 2**20)} MiB of {show(asked / 2**20)} find room beside the model"
