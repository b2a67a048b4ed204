"""A device with a known throughput curve and a clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle

from embedder.batching.tuning import Tuning, tune
from embedder.core.errors import OutOfMemory
from embedder.core.types import TokenBatch

UNLIMITED_S = 1e9
"""More seconds than any measurement takes."""


@dataclass
class SimulatedDevice:
    """A batch takes ``overhead_s`` plus the time of its tokens, times ``cliff`` above the cache.

    Each run takes longer by the next share in ``noise``; the first also takes ``loading_s``.
    """

    overhead_s: float = 0.01
    tokens_per_s: float = 50_000.0
    cache_tokens: int = 10**9
    cliff: float = 1.0
    capacity: int = 10**9
    loading_s: float = 0.0
    noise: Sequence[float] = (0.0,)
    now: float = 0.0
    batches: list[TokenBatch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._noise = cycle(self.noise)

    @property
    def sizes(self) -> list[int]:
        """The tokens of every batch, in order."""
        return [len(batch.ids) for batch in self.batches]

    def duration_s(self, tokens: int) -> float:
        """Return the duration of a batch without noise."""
        factor = self.cliff if tokens > self.cache_tokens else 1.0
        return self.overhead_s + factor * tokens / self.tokens_per_s

    def run(self, batch: TokenBatch) -> None:
        first = not self.batches
        self.batches.append(batch)
        if len(batch.ids) > self.capacity:
            raise OutOfMemory("full")
        self.now += self.duration_s(len(batch.ids)) * (1 + next(self._noise))
        self.now += self.loading_s if first else 0.0

    def tune(
        self,
        low: int = 256,
        high: int = 16_384,
        *,
        seconds: float = UNLIMITED_S,
        free: int = 10**9,
        longest: int = 64,
    ) -> Tuning:
        """Tune on this device's clock; ``free`` is the number of tokens that memory holds."""
        return tune(
            self.run,
            (low, high),
            longest=longest,
            seconds=seconds,
            fits=lambda tokens: tokens <= free,
            clock=lambda: self.now,
        )
