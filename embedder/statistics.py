"""What a generator has done and how fast, as one record for programs and people.

Reads the counters of the parts; knows nothing of how they count.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from embedder.batching.batcher import BatcherStats
from embedder.batching.tuning import Tuning
from embedder.cache.memory import CacheStats
from embedder.core.types import ModelInfo
from embedder.inference.local import LocalEncoder


@dataclass(frozen=True, slots=True)
class GeneratorStats:
    """Counters since a generator was made.

    ``batching.budget_tokens`` is what a batch may hold at this moment; ``tuning`` is how it was
    found, or None where the settings name it. ``tokens_per_s`` is of the time in which the device
    was busy.
    """

    model: ModelInfo
    uptime_s: float
    waiting: int
    batching: BatcherStats
    tuning: Tuning | None
    cache: CacheStats

    @property
    def tokens_per_s(self) -> float:
        """Return tokens computed per second of computing; 0 before the first batch."""
        busy_s = self.batching.busy_s
        return self.batching.tokens / busy_s if busy_s > 0 else 0.0


def statistics(encoder: LocalEncoder, cache: CacheStats, uptime_s: float) -> GeneratorStats:
    """Return copies of all counters, which do not change any more."""
    batcher = encoder.batcher
    return GeneratorStats(
        model=encoder.model,
        uptime_s=uptime_s,
        waiting=len(batcher),
        batching=replace(batcher.stats),
        tuning=encoder.tuning,
        cache=replace(cache),
    )
