"""Histograms in plain Python: an observation costs less than a microsecond."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Boundaries of the duration of a request or a stage: from a cached answer to the deadline."""

LOAD_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Boundaries of the duration of a model's load."""

SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
"""Boundaries of the number of inputs in a batch."""

TOKENS = tuple(16.0 * 2**power for power in range(14))
"""Boundaries of the number of tokens in a batch: 16 to 131,072."""


class Histogram:
    """Counts observations in buckets; ``boundaries`` ascend and are inclusive upper bounds."""

    __slots__ = ("_counts", "boundaries", "sum")

    def __init__(self, boundaries: Sequence[float]) -> None:
        self.boundaries = tuple(boundaries)
        self.sum = 0.0
        self._counts = [0] * (len(self.boundaries) + 1)

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.boundaries, value)] += 1
        self.sum += value

    @contextmanager
    def time(self) -> Iterator[None]:
        """Count the seconds that the ``with`` block takes, also if it fails."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.observe(time.monotonic() - began)

    @property
    def count(self) -> int:
        """Return the number of observations."""
        return sum(self._counts)

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """Yield every boundary, ``+Inf`` last, with the number of values of at most so much."""
        yield from zip(_names(self.boundaries), accumulate(self._counts), strict=True)


@lru_cache
def _names(boundaries: tuple[float, ...]) -> tuple[str, ...]:
    return (*(f"{boundary:g}" for boundary in boundaries), "+Inf")
