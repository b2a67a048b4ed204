"""The cache in memory: exact LRU eviction, a time to live, and a budget in bytes.

Rows of `Entries` are kept under 32-byte keys, those of each width in a slab, and rows of different
lengths in another. Not thread-safe: each
process calls its cache from one event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedder.cache.key_table import Slots, Words, keys_of, words_of
from embedder.cache.slab import (
    MAX_ENTRY_BYTES,
    MAX_ENTRY_SHARE,
    RaggedSlab,
    Slab,
    entry_bytes,
    entry_sizes,
)
from embedder.cache.store.records import FOREVER, TAG_BYTES, Records
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.entries import Entries
from embedder.measurements.cache import CacheStats

BATCH = 4096
"""Entries that are put at once; a slab has room for that many above the budget."""


class MemoryCache:
    """An exact LRU cache of entries with a byte budget; a budget of 0 keeps nothing.

    An entry is returned for at most ``ttl_s`` seconds; None sets no limit. ``on_forget`` is called
    with the keys that are removed together by eviction, expiry or `purge`.
    """

    def __init__(
        self,
        max_bytes: int,
        *,
        ttl_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_forget: Callable[[list[bytes]], object] | None = None,
    ) -> None:
        self.max_bytes = max_bytes
        self.stats = CacheStats()
        self._ttl_s = FOREVER if ttl_s is None else ttl_s
        self._clock = clock
        self._on_forget = on_forget
        self._slabs: dict[int, Slab] = {}
        # The LRU order of all slabs: the tick of the next use, and one before all uses.
        self._next_tick = 0
        self._first_tick = 0

    @property
    def age_s(self) -> float | None:
        """Return the age of the oldest entry in seconds; None if there is none."""
        puts = [slab.put_s[slab.recency.used()].min() for slab in self._slabs.values()]
        return self._clock() - float(min(puts)) if puts else None

    def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the entries of these keys that have ``width`` components and have not expired."""
        slab = self._slabs.get(width)
        if slab is None:
            self.stats.misses += len(keys)
            return CacheHits.empty(width)
        slots = slab.table.find(words_of(keys))
        rows, ttls_s = np.flatnonzero(slots >= 0), None
        slots = slots[rows]
        deadlines = slab.deadlines[slots]
        if not np.isposinf(deadlines).all():
            ttls_s = deadlines - self._clock()
            dead = ttls_s <= 0
            if dead.any():
                self.stats.expired += self._forget(slab, np.unique(slots[dead]))
                rows, slots, ttls_s = rows[~dead], slots[~dead], ttls_s[~dead]
        self._next_tick = slab.recency.use(slots, self._next_tick)
        self.stats.hits += len(rows)
        self.stats.misses += len(keys) - len(rows)
        return CacheHits(rows, slab.entries.take(slots), ttls_s)

    def put_many(
        self, keys: Sequence[bytes], entries: Entries, ttls_s: NDArray[np.float64] | None = None
    ) -> None:
        """Store a copy of every entry under its key, and evict the least recently used entries.

        ``ttls_s`` shortens the time to live of each entry. If a key occurs twice, its last entry
        is stored.
        """
        small = self._small(entries)
        if not small.all():
            rows = np.flatnonzero(small)
            keys, entries = [keys[row] for row in rows.tolist()], entries.take(rows)
            ttls_s = None if ttls_s is None else ttls_s[rows]
        last = {key: row for row, key in enumerate(keys)}
        if len(last) < len(keys):
            rows = np.fromiter(last.values(), np.intp, len(last))
            keys, entries = list(last), entries.take(rows)
            ttls_s = None if ttls_s is None else ttls_s[rows]
        for start in range(0, len(keys), BATCH):
            batch = slice(start, start + BATCH)
            self._put(keys[batch], entries.take(batch), None if ttls_s is None else ttls_s[batch])
            self._evict()

    def fill(self, records: Records) -> int:
        """Store records of absent keys as less recently used than all others; evict nothing.

        Records come newest first; they are stored while the budget has room. Return the number of
        stored records.
        """
        words = words_of(records.keys)
        absent = self._small(records.entries) & (records.ttls_s > 0)
        for slab in self._slabs.values():
            absent &= slab.table.find(words) < 0
        first = {key: row for row, key in reversed(list(enumerate(records.keys)))}
        taken = np.array(sorted(first.values()), np.intp)
        taken = taken[absent[taken]]
        total = np.cumsum(entry_sizes(records.entries)[taken])
        taken = taken[total <= self.max_bytes - self.stats.bytes]
        for start in range(0, len(taken), BATCH):
            rows = taken[start : start + BATCH]
            slab = self._slab(records.width)
            slots = self._write(slab, words[rows], records.entries.take(rows), records.ttls_s[rows])
            self._first_tick -= len(rows)
            slab.recency.use_before(slots, self._first_tick)
        return len(taken)

    def records(self, keys: Sequence[bytes]) -> list[Records]:
        """Return the records of these keys, by width, without counting as a use of them."""
        found = []
        now, words = self._clock(), words_of(keys)
        for slab in self._slabs.values():
            slots = slab.table.find(words)
            rows = np.flatnonzero(slots >= 0)
            ttls_s = slab.deadlines[slots[rows]] - now
            rows, ttls_s = rows[ttls_s > 0], ttls_s[ttls_s > 0]
            if len(rows):
                entries = slab.entries.take(slots[rows])
                found.append(Records([keys[row] for row in rows.tolist()], entries, ttls_s))
        return found

    def keys(self) -> list[bytes]:
        """Return all keys, most recently used first."""
        used = [(slab, slab.recency.used()) for slab in self._slabs.values()]
        if not used:
            return []
        ticks = np.concatenate([slab.recency.ticks[slots] for slab, slots in used])
        words = np.concatenate([slab.table.words[slots] for slab, slots in used])
        return keys_of(words[np.argsort(-ticks)])

    def purge(self, tag: bytes) -> int:
        """Remove every key that begins with the tag of a model; return their number."""
        assert len(tag) == TAG_BYTES
        return sum(self._forget(slab, slab.of_tag(tag)) for slab in list(self._slabs.values()))

    def clear(self) -> int:
        """Remove everything; return the number of entries."""
        count = self.stats.entries
        self._slabs.clear()
        self.stats.entries = self.stats.bytes = 0
        return count

    def _small(self, entries: Entries) -> NDArray[np.bool_]:
        """Tell which entries are small enough; count the others."""
        most = min(self.max_bytes * MAX_ENTRY_SHARE, MAX_ENTRY_BYTES)
        small: NDArray[np.bool_] = entry_sizes(entries) <= most
        self.stats.rejected += len(small) - int(np.count_nonzero(small))
        return small

    def _put(
        self, keys: Sequence[bytes], entries: Entries, ttls_s: NDArray[np.float64] | None
    ) -> None:
        slab, words = self._slab(entries.width), words_of(keys)
        for other in list(self._slabs.values()):
            if other is not slab:
                slots = other.table.find(words)
                self._free(other, slots[slots >= 0])
        slots = self._write(slab, words, entries, ttls_s)
        self._next_tick = slab.recency.use(slots, self._next_tick)

    def _slab(self, width: int) -> Slab:
        """Return the slab of a width; make it if there is none."""
        slab = self._slabs.get(width)
        if slab is None:
            capacity = self.max_bytes // entry_bytes(width) + BATCH
            slab = Slab(width, capacity) if width else RaggedSlab(capacity)
            self._slabs[width] = slab
        return slab

    def _write(
        self, slab: Slab, words: Words, entries: Entries, ttls_s: NDArray[np.float64] | None
    ) -> Slots:
        """Write the entries of distinct keys with their times; return their slots."""
        count, size, now = slab.count, slab.bytes, self._clock()
        lives_s = self._ttl_s if ttls_s is None else np.minimum(ttls_s, self._ttl_s)
        slots = slab.write(words, entries, now, now + lives_s)
        self.stats.entries += slab.count - count
        self.stats.bytes += slab.bytes - size
        return slots

    def _evict(self) -> None:
        """Remove the least recently used entries, over all widths, until the budget is kept."""
        while (over := self.stats.bytes - self.max_bytes) > 0:
            slab, before = self._oldest()
            self.stats.evicted += self._forget(slab, slab.oldest(over, before))

    def _oldest(self) -> tuple[Slab, int | None]:
        """Return the slab of the least recently used entry.

        The tick is the next candidate's in another slab, None if there is no other slab.
        """
        if len(self._slabs) == 1:
            return next(iter(self._slabs.values())), None
        ticks = sorted((slab.recency.oldest_tick(), width) for width, slab in self._slabs.items())
        return self._slabs[ticks[0][1]], ticks[1][0]

    def _forget(self, slab: Slab, slots: Slots) -> int:
        """Remove the entries at distinct slots and report their keys; return their number."""
        keys = keys_of(slab.table.words[slots]) if self._on_forget else []
        self._free(slab, slots)
        if self._on_forget is not None:
            self._on_forget(keys)
        return len(slots)

    def _free(self, slab: Slab, slots: Slots) -> None:
        """Remove the entries at distinct slots; release the memory of an empty slab."""
        size = slab.bytes
        slab.free(slots)
        self.stats.entries -= len(slots)
        self.stats.bytes += slab.bytes - size
        if not slab.count:
            self._slabs.pop(slab.width, None)
