"""The cache in memory: exact LRU eviction, a time to live, and a budget in bytes.

Rows of `Entries` are kept under 32-byte keys, those of each width in a slab. Not thread-safe: each
process calls its cache from one event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.cache.key_table import Slots, keys_of, words_of
from embedder.cache.slab import Slab
from embedder.cache.slab_pool import SlabPool, entry_bytes
from embedder.cache.store.records import FOREVER, TAG_BYTES, Records
from embedder.core.types import CacheHits, Entries

MAX_ENTRY_SHARE = 0.01
"""Largest share of the budget that one entry may take; a larger one would evict too many."""

BATCH = 4096
"""Entries that are put at once; a slab has room for that many above the budget."""


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


class MemoryCache:
    """An exact LRU cache of entries with a byte budget; a budget of 0 keeps nothing.

    An entry is returned for at most ``ttl_s`` seconds; None sets no limit. ``on_forget`` is called
    with every key that is removed by eviction, expiry, `delete_many` or `purge`.
    """

    def __init__(
        self,
        max_bytes: int,
        *,
        ttl_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_forget: Callable[[bytes], object] | None = None,
    ) -> None:
        self.max_bytes = max_bytes
        self.stats = CacheStats()
        self._ttl_s = FOREVER if ttl_s is None else ttl_s
        self._clock = clock
        self._on_forget = on_forget
        self._slabs = SlabPool(max_bytes, BATCH)

    @property
    def age_s(self) -> float | None:
        """Return the age of the oldest entry in seconds; None if there is none."""
        puts = [slab.put_times().min() for slab in self._slabs]
        return self._clock() - float(min(puts)) if puts else None

    def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the entries of these keys that have ``width`` components and have not expired."""
        slab = self._slabs.find(width)
        if slab is None:
            self.stats.misses += len(keys)
            return CacheHits.empty(width)
        slots = slab.find(words_of(keys))
        rows, ttls_s = np.flatnonzero(slots >= 0), None
        slots = slots[rows]
        deadlines = slab.deadlines[slots]
        if not np.isposinf(deadlines).all():
            ttls_s = deadlines - self._clock()
            dead = ttls_s <= 0
            if dead.any():
                self.stats.expired += self._forget(slab, np.unique(slots[dead]))
                self._count()
                rows, slots, ttls_s = rows[~dead], slots[~dead], ttls_s[~dead]
        slab.recency.use(slots, self._slabs.later_ticks(len(slots)))
        self.stats.hits += len(rows)
        self.stats.misses += len(keys) - len(rows)
        return CacheHits(rows, slab.read(slots), ttls_s)

    def put_many(
        self, keys: Sequence[bytes], entries: Entries, ttls_s: NDArray[np.float64] | None = None
    ) -> None:
        """Store a copy of every entry under its key, and evict the least recently used entries.

        ``ttls_s`` shortens the time to live of each entry. If a key occurs twice, its last entry
        is stored.
        """
        if not self._accepts(keys, entries):
            return
        last = {key: row for row, key in enumerate(keys)}
        if len(last) < len(keys):
            rows = np.fromiter(last.values(), np.intp, len(last))
            keys, entries = list(last), entries.take(rows)
            ttls_s = None if ttls_s is None else ttls_s[rows]
        for start in range(0, len(keys), BATCH):
            batch = slice(start, start + BATCH)
            self._put(keys[batch], entries.view(batch), None if ttls_s is None else ttls_s[batch])
            self._evict()
        self._count()

    def fill(self, records: Records) -> int:
        """Store records of absent keys as less recently used than all others; evict nothing.

        Records come newest first; they are stored while the budget has room. Return the number of
        stored records.
        """
        if not self._accepts(records.keys, records.entries):
            return 0
        width = records.width
        room = (self.max_bytes - self.stats.bytes) // entry_bytes(width)
        words = words_of(records.keys)
        absent = records.ttls_s > 0
        for slab in self._slabs:
            absent &= slab.find(words) < 0
        first = {key: row for row, key in reversed(list(enumerate(records.keys)))}
        taken = np.array(sorted(first.values()), np.intp)
        taken = taken[absent[taken]][: max(0, room)]
        for start in range(0, len(taken), BATCH):
            rows = taken[start : start + BATCH]
            slab = self._slabs.ensure(width)
            slots = slab.write(words[rows], records.entries.take(rows))
            self._set_times(slab, slots, records.ttls_s[rows])
            slab.recency.use_before(slots, self._slabs.earlier_ticks(len(rows)))
        self._count()
        return len(taken)

    def records(self, keys: Sequence[bytes]) -> list[Records]:
        """Return the records of these keys, by width, without counting as a use of them."""
        found = []
        now, words = self._clock(), words_of(keys)
        for slab in self._slabs:
            slots = slab.find(words)
            rows = np.flatnonzero(slots >= 0)
            ttls_s = slab.deadlines[slots[rows]] - now
            rows, ttls_s = rows[ttls_s > 0], ttls_s[ttls_s > 0]
            if len(rows):
                entries = slab.read(slots[rows])
                found.append(Records([keys[row] for row in rows.tolist()], entries, ttls_s))
        return found

    def keys(self) -> list[bytes]:
        """Return all keys, most recently used first."""
        return self._slabs.keys()

    def delete_many(self, keys: Sequence[bytes]) -> int:
        """Remove these keys; return the number of keys that were present."""
        count = 0
        words = words_of(keys)
        for slab in self._slabs:
            slots = slab.find(words)
            count += self._forget(slab, np.unique(slots[slots >= 0]))
        self._count()
        return count

    def purge(self, tag: bytes) -> int:
        """Remove every key that begins with the tag of a model; return their number."""
        assert len(tag) == TAG_BYTES
        count = sum(self._forget(slab, slab.of_tag(tag)) for slab in self._slabs)
        self._count()
        return count

    def clear(self) -> int:
        """Remove everything; return the number of entries."""
        count = self.stats.entries
        self._slabs.clear()
        self._count()
        return count

    def _accepts(self, keys: Sequence[bytes], entries: Entries) -> bool:
        """Tell whether entries of this width are small enough; count them if not."""
        if entry_bytes(entries.vectors.shape[1]) <= self.max_bytes * MAX_ENTRY_SHARE:
            return True
        self.stats.rejected += len(keys)
        return False

    def _put(
        self, keys: Sequence[bytes], entries: Entries, ttls_s: NDArray[np.float64] | None
    ) -> None:
        slab, words = self._slabs.ensure(entries.vectors.shape[1]), words_of(keys)
        for other in self._slabs:
            if other is not slab:
                slots = other.find(words)
                other.free(slots[slots >= 0])
                self._slabs.drop_if_empty(other)
        slots = slab.write(words, entries)
        self._set_times(slab, slots, ttls_s)
        slab.recency.use(slots, self._slabs.later_ticks(len(slots)))

    def _set_times(self, slab: Slab, slots: Slots, ttls_s: NDArray[np.float64] | None) -> None:
        now = self._clock()
        slab.put_s[slots] = now
        slab.deadlines[slots] = now + (
            self._ttl_s if ttls_s is None else np.minimum(ttls_s, self._ttl_s)
        )

    def _evict(self) -> None:
        """Remove the least recently used entries, over all widths, until the budget is kept."""
        while (over := self._slabs.total_bytes - self.max_bytes) > 0:
            slab, before = self._slabs.oldest()
            count = -(-over // entry_bytes(slab.width))
            self.stats.evicted += self._forget(slab, slab.recency.oldest(count, before))

    def _forget(self, slab: Slab, slots: Slots) -> int:
        keys = [] if self._on_forget is None else keys_of(slab.words_at(slots))
        slab.free(slots)
        self._slabs.drop_if_empty(slab)
        for key in keys:
            self._on_forget(key)  # type: ignore[misc]
        return len(slots)

    def _count(self) -> None:
        self.stats.entries = len(self._slabs)
        self.stats.bytes = self._slabs.total_bytes
