"""The cache in memory: least recently used goes first, and a byte budget is kept.

Holds rows of `Entries` under 32-byte keys. Knows nothing of texts or of how keys are made. Not
safe for use from several threads at once: each process that owns one calls it from one loop.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.types import CacheHits, Entries

OVERHEAD_BYTES = 320
"""What an entry costs beside its components: key, row object, dictionary slot and links."""


@dataclass(slots=True)
class CacheStats:
    """Counters since the cache was made, and what it holds now."""

    hits: int = 0
    misses: int = 0
    evicted: int = 0
    rejected: int = 0
    entries: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Row:
    vector: NDArray[np.float32]
    token_count: int
    truncated: bool

    @property
    def bytes(self) -> int:
        return self.vector.nbytes + OVERHEAD_BYTES


class MemoryCache:
    """An exact LRU of entries with a byte budget; a budget of 0 keeps nothing."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.stats = CacheStats()
        self._rows: OrderedDict[bytes, _Row] = OrderedDict()

    def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the entries that are there; ``width`` is what a vector of these keys has.

        A row of another width counts as missing.
        """
        found: list[_Row] = []
        rows: list[int] = []
        for at, key in enumerate(keys):
            row = self._rows.get(key)
            if row is not None and len(row.vector) == width:
                self._rows.move_to_end(key)
                found.append(row)
                rows.append(at)
        self.stats.hits += len(rows)
        self.stats.misses += len(keys) - len(rows)
        return CacheHits(np.array(rows, np.intp), _stack(found, width))

    def put_many(self, keys: Sequence[bytes], entries: Entries) -> None:
        """Remember every entry under its key; the least recently used make room."""
        for at, key in enumerate(keys):
            # A copy: a view would keep the whole batch it was cut from alive.
            vector = entries.vectors[at].copy()
            count, truncated = int(entries.token_counts[at]), bool(entries.truncated[at])
            self._put(key, _Row(vector, count, truncated))

    def clear(self) -> int:
        """Forget everything and return how many entries that were."""
        count = len(self._rows)
        self._rows.clear()
        self.stats.entries = self.stats.bytes = 0
        return count

    def _put(self, key: bytes, row: _Row) -> None:
        if row.bytes > self.max_bytes:
            self.stats.rejected += 1
            return
        old = self._rows.pop(key, None)
        if old is not None:
            self.stats.bytes -= old.bytes
        self._rows[key] = row
        self.stats.bytes += row.bytes
        while self.stats.bytes > self.max_bytes:
            _, oldest = self._rows.popitem(last=False)
            self.stats.bytes -= oldest.bytes
            self.stats.evicted += 1
        self.stats.entries = len(self._rows)


def _stack(rows: Sequence[_Row], width: int) -> Entries:
    entries = Entries.allocate(len(rows), width)
    for at, row in enumerate(rows):
        entries.vectors[at] = row.vector
        entries.token_counts[at] = row.token_count
        entries.truncated[at] = row.truncated
    return entries
