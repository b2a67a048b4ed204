"""The cache in memory: least recently used goes first, nothing outlives its time, a budget is kept.

Holds rows of `Entries` under 32-byte keys, those of each width in a slab. Knows nothing of texts or
of how keys are made. Not safe for use from several threads at once: each process that owns one
calls it from one loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.cache.key_table import Slots, keys_of, words_of
from embedder.cache.recency import Ticks
from embedder.cache.slab import Slab
from embedder.cache.store.records import FOREVER, TAG_BYTES, Records
from embedder.core.types import CacheHits, Entries

OVERHEAD_BYTES = 160
"""What an entry costs beside its components: key, place in table and order, deadline."""

MOST_OF_BUDGET = 0.01
"""The share of the budget that one entry may take; a larger one would push out too many."""

PART = 4096
"""Entries that are put at once: a slab has that much room beyond the budget while they come."""

FLOAT_BYTES = 4


@dataclass(slots=True)
class CacheStats:
    """Counters since the cache was made, and what it holds now.

    What has expired and was not asked for since still counts as held.
    """

    hits: int = 0
    misses: int = 0
    expired: int = 0
    evicted: int = 0
    rejected: int = 0
    entries: int = 0
    bytes: int = 0


class MemoryCache:
    """An exact LRU of entries with a byte budget; a budget of 0 keeps nothing.

    An entry is given back for ``ttl_s`` seconds at most; None: without an end. ``on_forget`` is
    told every key that goes by eviction, expiry, `delete_many` or `purge`.
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
        self._slabs: dict[int, Slab] = {}
        self._next_tick = 0
        self._first_tick = 0

    @property
    def age_s(self) -> float | None:
        """Return how long ago the oldest entry was put; None where there is none."""
        puts = [slab.put_times().min() for slab in self._slabs.values()]
        return self._clock() - float(min(puts)) if puts else None

    def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the entries that are there; ``width`` is what a vector of these keys has.

        An entry of another width counts as missing, and so does one whose time is over.
        """
        slab = self._slabs.get(width)
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
                self._expire(slab, slots[dead])
                rows, slots, ttls_s = rows[~dead], slots[~dead], ttls_s[~dead]
        slab.recency.use(slots, self._later(len(slots)))
        self.stats.hits += len(rows)
        self.stats.misses += len(keys) - len(rows)
        return CacheHits(rows, slab.read(slots), ttls_s)

    def put_many(
        self,
        keys: Sequence[bytes],
        entries: Entries,
        ttls_s: NDArray[np.float64] | None = None,
    ) -> None:
        """Remember a copy of every entry under its key; the least recently used make room.

        ``ttls_s`` shortens the TTL of each entry. Of a key
        that comes twice the last entry stays.
        """
        if not self._admits(keys, entries):
            return
        last = {key: row for row, key in enumerate(keys)}
        if len(last) < len(keys):
            rows = np.fromiter(last.values(), np.intp, len(last))
            keys, entries = list(last), entries.take(rows)
            ttls_s = None if ttls_s is None else ttls_s[rows]
        for start in range(0, len(keys), PART):
            part = slice(start, start + PART)
            self._put(keys[part], entries.view(part), None if ttls_s is None else ttls_s[part])
            self._evict()
        self._count()

    def fill(self, records: Records) -> int:
        """Take over entries from elsewhere as less recently used than all that is here.

        Records come newest first. Only absent keys are taken, and only into free room. Returns how
        many that were.
        """
        if not self._admits(records.keys, records.entries):
            return 0
        width = records.width
        room = (self.max_bytes - self.stats.bytes) // _cost(width)
        words = words_of(records.keys)
        absent = records.ttls_s > 0
        for slab in self._slabs.values():
            absent &= slab.find(words) < 0
        first = {key: row for row, key in reversed(list(enumerate(records.keys)))}
        taken = np.array(sorted(first.values()), np.intp)
        taken = taken[absent[taken]][: max(0, room)]
        for start in range(0, len(taken), PART):
            rows = taken[start : start + PART]
            slab = self._slab(width)
            slots = slab.write(words[rows], records.entries.take(rows))
            self._date(slab, slots, records.ttls_s[rows])
            self._first_tick -= len(rows)
            ticks = np.arange(len(rows), dtype=np.int64)[::-1] + self._first_tick
            slab.recency.use_before(slots, ticks)
        self._count()
        return len(taken)

    def records(self, keys: Sequence[bytes]) -> list[Records]:
        """Return what is here of the keys, by width; that is no use of it."""
        found = []
        now, words = self._clock(), words_of(keys)
        for slab in self._slabs.values():
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
        slabs = list(self._slabs.values())
        orders = [slab.recency.in_order() for slab in slabs]
        ticks = [slab.recency.ticks[order] for slab, order in zip(slabs, orders, strict=True)]
        words = [slab.words_at(order) for slab, order in zip(slabs, orders, strict=True)]
        if not words:
            return []
        return keys_of(np.concatenate(words)[np.argsort(-np.concatenate(ticks))])

    def delete_many(self, keys: Sequence[bytes]) -> int:
        """Forget these keys and return how many of them were here."""
        count = 0
        words = words_of(keys)
        for slab in list(self._slabs.values()):
            slots = slab.find(words)
            count += self._forget(slab, np.unique(slots[slots >= 0]))
        self._count()
        return count

    def purge(self, tag: bytes) -> int:
        """Forget every key that begins with the tag of a model, and return how many that were."""
        assert len(tag) == TAG_BYTES
        slabs = list(self._slabs.values())
        count = sum(self._forget(slab, slab.of_tag(tag)) for slab in slabs)
        self._count()
        return count

    def clear(self) -> int:
        """Forget everything and return how many entries that were."""
        count = self.stats.entries
        self._slabs.clear()
        self._count()
        return count

    def _admits(self, keys: Sequence[bytes], entries: Entries) -> bool:
        """Tell whether entries of this width are kept at all."""
        if _cost(entries.vectors.shape[1]) <= self.max_bytes * MOST_OF_BUDGET:
            return True
        self.stats.rejected += len(keys)
        return False

    def _put(
        self, keys: Sequence[bytes], entries: Entries, ttls_s: NDArray[np.float64] | None
    ) -> None:
        slab, words = self._slab(entries.vectors.shape[1]), words_of(keys)
        for other in list(self._slabs.values()):
            if other is not slab:
                slots = other.find(words)
                other.free(slots[slots >= 0])
                self._drop_if_empty(other)
        slots = slab.write(words, entries)
        self._date(slab, slots, ttls_s)
        slab.recency.use(slots, self._later(len(slots)))

    def _slab(self, width: int) -> Slab:
        slab = self._slabs.get(width)
        if slab is None:
            slab = self._slabs[width] = Slab(width, self.max_bytes // _cost(width) + PART)
        return slab

    def _date(self, slab: Slab, slots: Slots, ttls_s: NDArray[np.float64] | None) -> None:
        now = self._clock()
        slab.put_s[slots] = now
        life_s = self._ttl_s if ttls_s is None else np.minimum(ttls_s, self._ttl_s)
        slab.deadlines[slots] = now + life_s

    def _later(self, count: int) -> Ticks:
        ticks = np.arange(self._next_tick, self._next_tick + count, dtype=np.int64)
        self._next_tick += count
        return ticks

    def _expire(self, slab: Slab, slots: Slots) -> None:
        self.stats.expired += self._forget(slab, np.unique(slots))
        self._count()

    def _evict(self) -> None:
        """Forget the least recently used, over all widths, until the budget is kept."""
        while (over := self._bytes() - self.max_bytes) > 0:
            slab, before = self._oldest()
            most = -(-over // _cost(slab.width))
            self.stats.evicted += self._forget(slab, slab.recency.oldest(most, before))

    def _oldest(self) -> tuple[Slab, int | None]:
        """Return the slab with the least recently used entry, and when another's was used."""
        if len(self._slabs) == 1:
            return next(iter(self._slabs.values())), None
        ticks = [(slab.recency.oldest_tick(), slab.width) for slab in self._slabs.values()]
        ordered = sorted((tick, width) for tick, width in ticks if tick is not None)
        return self._slabs[ordered[0][1]], ordered[1][0] if len(ordered) > 1 else None

    def _forget(self, slab: Slab, slots: Slots) -> int:
        keys = [] if self._on_forget is None else keys_of(slab.words_at(slots))
        slab.free(slots)
        self._drop_if_empty(slab)
        for key in keys:
            self._on_forget(key)  # type: ignore[misc]
        return len(slots)

    def _drop_if_empty(self, slab: Slab) -> None:
        if not len(slab):
            self._slabs.pop(slab.width, None)

    def _bytes(self) -> int:
        return sum(len(slab) * _cost(slab.width) for slab in self._slabs.values())

    def _count(self) -> None:
        self.stats.entries = sum(map(len, self._slabs.values()))
        self.stats.bytes = self._bytes()


def _cost(width: int) -> int:
    return width * FLOAT_BYTES + OVERHEAD_BYTES
