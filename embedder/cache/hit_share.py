"""Whether a lookup will probably find what is asked for, by how the last ones went.

Knows nothing of keys or caches.
"""

from __future__ import annotations

LIKELY = 0.5
WEIGHT = 0.1
"""What one lookup counts beside all before it: some ten of them decide."""


class HitShare:
    """A moving mean of the share of keys that lookups have found."""

    def __init__(self) -> None:
        self._share = 0.0

    @property
    def are_likely(self) -> bool:
        """Tell whether more than half is found of late."""
        return self._share > LIKELY

    def learn(self, found: int, asked: int) -> None:
        """Take note of a lookup of at least one key."""
        self._share += WEIGHT * (found / asked - self._share)
