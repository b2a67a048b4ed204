"""Entries of one width in contiguous arrays, by key, so that one gather reads any of them.

Rows of different lengths have a slab of their own, whose array refers to the bytes of each row.

The arrays have the largest size that the budget allows. The operating system gives them memory
where something is written, and freed slots are used again first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedder.cache.key_table import KeyTable, Slots, Words
from embedder.cache.recency import WINDOW, Recency
from embedder.core.entries.blobs import RAGGED
from embedder.core.entries.entries import Entries

OVERHEAD_BYTES = 160
"""Bytes of an entry beside its components: key, places in the table and the order, deadline."""

BLOB_BYTES = 48
"""Bytes of a bytes object beside its content, with the reference to it."""

MAX_ENTRY_SHARE = 0.01
"""Largest share of the budget that one entry may take; a larger one would evict too many."""

MAX_ENTRY_BYTES = 32 * 2**20
"""Size of the largest entry: a message and a part of an archive hold at least one of them."""

FLOAT_BYTES = 4


def entry_bytes(width: int) -> int:
    """Return the bytes of an entry with ``width`` components, or of one with an empty row."""
    return (width * FLOAT_BYTES or BLOB_BYTES) + OVERHEAD_BYTES


def entry_sizes(entries: Entries) -> NDArray[np.int64]:
    """Return the bytes of each entry in a slab, int64[n]."""
    if entries.vectors.ndim == 2:
        count, width = entries.vectors.shape
        return np.full(count, FLOAT_BYTES * width + OVERHEAD_BYTES, np.int64)
    return entries.sizes + (BLOB_BYTES + OVERHEAD_BYTES)


class Slab:
    """Up to ``capacity`` entries of vectors float32[width].

    ``deadlines`` and ``put_s`` are float64[capacity] on the caller's clock; the values of free
    slots are undefined. ``count`` is the number of entries, ``bytes`` their size.
    """

    def __init__(self, width: int, capacity: int) -> None:
        self.width = width
        self.entry_bytes = entry_bytes(width)
        self.recency = Recency(capacity)
        self.table = KeyTable(capacity)
        self.entries = Entries.allocate(capacity, width)
        self.deadlines = np.empty(capacity, np.float64)
        self.put_s = np.empty(capacity, np.float64)
        # A stack of the freed slots; slots from `_fresh` on were never used.
        self._freed = np.empty(capacity, np.intp)
        self._fresh = 0
        self.count = self.bytes = 0

    def write(
        self, words: Words, entries: Entries, put_s: float, deadlines: NDArray[np.float64] | float
    ) -> Slots:
        """Write the entries of distinct keys with their times; return their slots."""
        slots = self.table.find(words)
        new = np.flatnonzero(slots < 0)
        if len(new):
            slots[new] = self._take(len(new))
            self.table.insert(words[new], slots[new])
        self.entries.put(slots, entries)
        self.put_s[slots] = put_s
        self.deadlines[slots] = deadlines
        self.bytes = self.count * self.entry_bytes
        return slots

    def free(self, slots: Slots) -> None:
        """Remove the entries at distinct slots."""
        if len(slots):
            self.table.remove(slots)
            self.recency.free(slots)
            top = self._fresh - self.count
            self._freed[top : top + len(slots)] = slots
            self.count -= len(slots)
            self.bytes = self.count * self.entry_bytes

    def oldest(self, size: int, before: int | None) -> Slots:
        """Return the slots to free ``size`` bytes, as `Recency.oldest`."""
        return self.recency.oldest(-(-size // self.entry_bytes), before)

    def of_tag(self, tag: bytes) -> Slots:
        """Return the slots of all keys that begin with ``tag``."""
        slots = self.recency.used()
        same: Slots = slots[self.table.words[slots, 0] == np.frombuffer(tag, np.uint64)[0]]
        return same

    def _take(self, count: int) -> Slots:
        """Return free slots; freed slots, which have memory already, come first."""
        top = self._fresh - self.count
        reused = min(count, top)
        fresh = np.arange(self._fresh, self._fresh + count - reused)
        self._fresh += count - reused
        self.count += count
        return np.concatenate([self._freed[top - reused : top], fresh])


class RaggedSlab(Slab):
    """Up to ``capacity`` entries of rows of different lengths, each of its own size."""

    def __init__(self, capacity: int) -> None:
        super().__init__(RAGGED, capacity)
        # Grows as it is used: the system gives memory to every element of an array of objects.
        self.entries = replace(self.entries, vectors=np.empty(0, np.object_))
        self._sizes = np.zeros(capacity, np.int64)
        self._total = 0

    def write(
        self, words: Words, entries: Entries, put_s: float, deadlines: NDArray[np.float64] | float
    ) -> Slots:
        """Write as `Slab.write` does."""
        slots = super().write(words, entries, put_s, deadlines)
        self._resize(slots, entry_sizes(entries))
        return slots

    def free(self, slots: Slots) -> None:
        """Remove the entries at distinct slots, and release their rows."""
        super().free(slots)
        self.entries.vectors[slots] = None
        self._resize(slots, 0)

    def oldest(self, size: int, before: int | None) -> Slots:
        """Return the slots to free ``size`` bytes, as `Recency.oldest`."""
        slots = self.recency.oldest(WINDOW, before)
        freed = np.cumsum(self._sizes[slots])
        return slots[: int(np.searchsorted(freed, size)) + 1]

    def _take(self, count: int) -> Slots:
        """Return free slots, for which the array of rows has room."""
        slots = super()._take(count)
        rows = self.entries.vectors
        if self._fresh > len(rows):
            grown = np.empty(max(self._fresh, 2 * len(rows)), np.object_)
            grown[: len(rows)] = rows
            self.entries = replace(self.entries, vectors=grown)
        return slots

    def _resize(self, slots: Slots, sizes: NDArray[np.int64] | int) -> None:
        """Set the bytes of the entries at distinct slots."""
        before = int(self._sizes[slots].sum())
        self._sizes[slots] = sizes
        self._total += int(self._sizes[slots].sum()) - before
        self.bytes = self._total
