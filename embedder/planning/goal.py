"""What is wanted of a service, and what of it is out of reach: numbers with their units.

Knows nothing of how a goal is pursued.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from embedder.core.errors import InvalidInput
from embedder.planning.prediction import Prediction

GB = 10**9


@dataclass(frozen=True, slots=True)
class Constraints:
    """What is wanted; None asks for nothing. A GB is 10^9 bytes.

    Raises:
        InvalidInput: a number is not above 0.
    """

    max_memory_gb: float | None = None
    target_latency_ms: float | None = None
    min_texts_per_s: float | None = None
    tokens_per_text: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value > 0:
                raise InvalidInput(field.name, f"is {value}; it must be above 0")

    def memory_limit(self, free_bytes: int) -> float:
        """Return the bytes that may be taken where so many are free."""
        if self.max_memory_gb is None:
            return free_bytes
        return min(self.max_memory_gb * GB, free_bytes)

    def allows_latency(self, prediction: Prediction) -> bool:
        """Tell whether a text is answered in time."""
        target = self.target_latency_ms
        return target is None or prediction.latency_ms <= target


@dataclass(frozen=True, slots=True)
class Unmet:
    """Something wanted that a plan does not reach, and by how much."""

    what: str
    predicted: float
    wanted: float
    unit: str

    @property
    def gap(self) -> float:
        """Return how far what is predicted is from what is wanted."""
        return abs(self.predicted - self.wanted)

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"{self.what}: {show(self.predicted)}{unit} predicted, {show(self.wanted)}{unit} "
            f"wanted: short by {show(self.gap)}{unit}"
        )


def unmet(constraints: Constraints, prediction: Prediction, free_bytes: int) -> Iterator[Unmet]:
    """Give everything wanted that a prediction does not reach, and more memory than is free."""
    memory = prediction.memory_bytes
    if constraints.max_memory_gb is not None and memory > constraints.max_memory_gb * GB:
        yield Unmet("memory", memory / GB, constraints.max_memory_gb, "GB")
    if memory > free_bytes:
        yield Unmet("memory that is free", memory / GB, free_bytes / GB, "GB")
    if constraints.target_latency_ms is not None and not constraints.allows_latency(prediction):
        wanted_ms = constraints.target_latency_ms
        yield Unmet("latency of one text", prediction.latency_ms, wanted_ms, "ms")
    least = constraints.min_texts_per_s
    if least is not None and prediction.texts_per_s < least:
        yield Unmet("texts a second", prediction.texts_per_s, least, "")


def show(number: float) -> str:
    """Return a number with as many digits as matter."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
