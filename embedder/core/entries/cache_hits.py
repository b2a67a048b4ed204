"""The result of a lookup in a cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.entries.entries import Entries


@dataclass(frozen=True, slots=True)
class CacheHits:
    """The result of a lookup of many keys: the rows that were found, and their entries.

    ``ttls_s`` float64[n] is the remaining time to live of each entry; None: no entry expires.
    """

    rows: NDArray[np.intp]
    entries: Entries
    ttls_s: NDArray[np.float64] | None = None

    def ttls_of(self, count: int) -> NDArray[np.float64] | None:
        """Return the time to live for each of ``count`` keys; infinity for keys not found."""
        if self.ttls_s is None:
            return None
        ttls_s = np.full(count, np.inf)
        ttls_s[self.rows] = self.ttls_s
        return ttls_s

    def within(self, max_bytes: int) -> CacheHits:
        """Return the first hits, at least one, whose rows have at most ``max_bytes`` in total."""
        total = np.cumsum(self.entries.sizes)
        count = max(1, int(np.searchsorted(total, max_bytes, side="right")))
        if count >= len(self.rows):
            return self
        ttls_s = None if self.ttls_s is None else self.ttls_s[:count]
        return CacheHits(self.rows[:count], self.entries.take(slice(count)), ttls_s)

    @classmethod
    def empty(cls, width: int) -> CacheHits:
        """Return the result of a lookup that found no key."""
        return cls(np.empty(0, np.intp), Entries.allocate(0, width))

    @classmethod
    def merged(cls, parts: Sequence[tuple[NDArray[np.intp], CacheHits]], width: int) -> CacheHits:
        """Merge the hits of several lookups, each for the given rows of one list of keys."""
        if len(parts) == 1:
            rows, hits = parts[0]
            return cls(rows[hits.rows], hits.entries, hits.ttls_s)
        if not parts:
            return cls.empty(width)
        rows = np.concatenate([rows[hits.rows] for rows, hits in parts])
        order = np.argsort(rows)
        entries = Entries.concatenate([hits.entries for _, hits in parts]).take(order)
        if all(hits.ttls_s is None for _, hits in parts):
            return cls(rows[order], entries)
        ttls = [
            np.full(len(hits.rows), np.inf) if hits.ttls_s is None else hits.ttls_s
            for _, hits in parts
        ]
        return cls(rows[order], entries, np.concatenate(ttls)[order])
