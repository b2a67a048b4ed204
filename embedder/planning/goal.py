"""The goals of an operator for one process, and which of them a prediction misses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from embedder.core.errors import InvalidInput
from embedder.planning.prediction import Prediction

GB = 10**9


@dataclass(frozen=True, slots=True)
class Goal:
    """Limits for one process; None sets no limit. A GB is 10^9 bytes.

    Raises:
        InvalidInput: a number is not above 0.
    """

    max_memory_gb: float | None = None
    target_latency_ms: float | None = None
    min_texts_per_s: float | None = None
    tokens_per_text: int = 64

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not value > 0:
                raise InvalidInput(name, f"is {value}; it must be above 0")

    def memory_limit(self, free_bytes: int) -> float:
        """Return the bytes that the process may take."""
        return (
            free_bytes if self.max_memory_gb is None else min(self.max_memory_gb * GB, free_bytes)
        )


@dataclass(frozen=True, slots=True)
class UnmetGoal:
    """A goal that a prediction misses."""

    name: str
    predicted: float
    wanted: float
    unit: str

    @property
    def gap(self) -> float:
        """Return the distance between the predicted and the wanted value."""
        return abs(self.predicted - self.wanted)

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"{self.name}: {show(self.predicted)}{unit} predicted, {show(self.wanted)}{unit} "
            f"wanted: short by {show(self.gap)}{unit}"
        )


def unmet_goals(goal: Goal, prediction: Prediction, free_bytes: int) -> Iterator[UnmetGoal]:
    """Yield the goals that a prediction misses; the free memory is always one of the goals."""
    memory, latency_ms = prediction.memory_bytes, prediction.latency_ms
    if goal.max_memory_gb is not None and memory > goal.max_memory_gb * GB:
        yield UnmetGoal("memory", memory / GB, goal.max_memory_gb, "GB")
    if memory > free_bytes:
        yield UnmetGoal("free memory", memory / GB, free_bytes / GB, "GB")
    if goal.target_latency_ms is not None and latency_ms > goal.target_latency_ms:
        yield UnmetGoal("latency of one text", latency_ms, goal.target_latency_ms, "ms")
    if goal.min_texts_per_s is not None and prediction.texts_per_s < goal.min_texts_per_s:
        yield UnmetGoal("texts per second", prediction.texts_per_s, goal.min_texts_per_s, "")


def show(number: float) -> str:
    """Return a number with three significant digits, or all its integer digits."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
