"""When the requests of an open loop are due."""

from __future__ import annotations

import random


def arrivals(rate_per_s: float, seconds: float, seed: int) -> list[float]:
    """Return when requests are due, in seconds from the start: a seeded Poisson process."""
    gaps = random.Random(seed)
    due, now = [], 0.0
    while (now := now + gaps.expovariate(rate_per_s)) < seconds:
        due.append(now)
    return due
