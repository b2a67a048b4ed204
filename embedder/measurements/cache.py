"""What a cache counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class CacheStats:
    """Counters since the start, and what the cache holds now.

    Expired entries count as held until they are asked for.
    """

    hits: int = 0
    misses: int = 0
    expired: int = 0
    evicted: int = 0
    rejected: int = 0
    entries: int = 0
    bytes: int = 0
