"""Statistics of a generator."""

from __future__ import annotations

from dataclasses import dataclass, replace

from embedder.batching.batcher import BatcherStats
from embedder.batching.tuning import Tuning
from embedder.core.types import ModelInfo
from embedder.inference.local import LocalEncoder
from embedder.measurements.cache import CacheStats


@dataclass(frozen=True, slots=True)
class GeneratorStats:
    """Counters since a generator was created.

    ``batching.budget_tokens`` is the current token budget of a batch; ``tuning`` is the measurement
    that found it, or None if the settings state it.
    """

    model: ModelInfo
    uptime_s: float
    waiting: int
    batching: BatcherStats
    tuning: Tuning | None
    cache: CacheStats

    @property
    def tokens_per_s(self) -> float:
        """Return tokens per second while the device was busy; 0 before the first batch."""
        busy_s = self.batching.busy_s
        return self.batching.tokens / busy_s if busy_s > 0 else 0.0


def statistics(encoder: LocalEncoder, cache: CacheStats, uptime_s: float) -> GeneratorStats:
    """Return copies of all counters."""
    batcher = encoder.batcher
    return GeneratorStats(
        model=encoder.model,
        uptime_s=uptime_s,
        waiting=len(batcher),
        batching=replace(batcher.stats),
        tuning=encoder.tuning,
        cache=replace(cache),
    )
