"""Whether a lookup will probably find what is asked for, and pay, by how the last ones went.

Knows nothing of keys or caches.
"""

from __future__ import annotations

LIKELY = 0.5
WEIGHT = 0.1
"""What one lookup counts beside all before it: some ten of them decide."""

FIRST = 50
"""Lookups that are made whatever they find."""
MANY = 8
"""Keys that are worth a lookup in any case: it costs what embedding one text does, or less."""
RARE = 0.02
SAMPLE = 32
"""Where fewer keys than `RARE` are found a lookup, one in so many is made all the same, to see."""


class HitRatio:
    """A moving mean of the share of keys that lookups have found."""

    def __init__(self) -> None:
        self._share = 0.0
        self._lookups = 0
        self._passed = 0

    @property
    def are_likely(self) -> bool:
        """Tell whether more than half is found of late."""
        return self._share > LIKELY

    def pays(self, keys: int) -> bool:
        """Decide whether so many keys are to be looked up."""
        if self._lookups < FIRST or keys >= MANY or self._share * keys >= RARE:
            return True
        self._passed = (self._passed + 1) % SAMPLE
        return self._passed == 0

    def learn(self, found: int, asked: int) -> None:
        """Take note of a lookup of at least one key."""
        self._lookups += 1
        self._share += WEIGHT * (found / asked - self._share)
