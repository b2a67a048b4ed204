"""A moving average of the cache hit ratio, to decide whether a lookup is worth its cost."""

from __future__ import annotations

LIKELY = 0.5
WEIGHT = 0.1
"""Weight of the last lookup in the average: about ten lookups dominate it."""

FIRST = 50
"""Number of first lookups that are always sent."""
MANY, SAMPLE_OF_MANY = 8, 4
"""Number of keys from which on one lookup in `SAMPLE_OF_MANY` is sent: more may be found at once,
and a lookup costs as much as embedding one or two texts."""
RARE = 0.02
SAMPLE = 32
"""If fewer keys than `RARE` are found a lookup, send one lookup in `SAMPLE`, to notice changes."""


class HitRatio:
    """A moving average of the share of keys that lookups have found."""

    def __init__(self) -> None:
        self._ratio = 0.0
        self._lookups = 0
        self._skipped = 0

    @property
    def hit_is_likely(self) -> bool:
        """Tell whether lookups have found more than half of their keys lately."""
        return self._ratio > LIKELY

    def lookup_pays(self, keys: int) -> bool:
        """Decide whether to look up ``keys`` keys."""
        if self._lookups < FIRST or self._ratio * keys >= RARE:
            return True
        self._skipped += 1
        return self._skipped % (SAMPLE_OF_MANY if keys >= MANY else SAMPLE) == 0

    def learn(self, found: int, asked: int) -> None:
        """Record a lookup of at least one key."""
        self._lookups += 1
        self._ratio += WEIGHT * (found / asked - self._ratio)
