"""Entries of one width in contiguous arrays, by key, so that one gather reads any of them.

The arrays have the largest size that the budget allows. The operating system gives them memory
where something is written, and freed slots are used again first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.cache.key_table import KeyTable, Slots, Words
from embedder.cache.recency import Recency
from embedder.core.entries.entries import Entries

OVERHEAD_BYTES = 160
"""Bytes of an entry beside its components: key, places in the table and the order, deadline."""

FLOAT_BYTES = 4


def entry_bytes(width: int) -> int:
    """Return the bytes of an entry with ``width`` components."""
    return width * FLOAT_BYTES + OVERHEAD_BYTES


class Slab:
    """Up to ``capacity`` entries of vectors float32[width].

    ``deadlines`` and ``put_s`` are float64[capacity] on the caller's clock; the values of free
    slots are undefined. ``count`` is the number of entries.
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
        self.count = 0

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
        return slots

    def free(self, slots: Slots) -> None:
        """Remove the entries at distinct slots."""
        if len(slots):
            self.table.remove(slots)
            self.recency.free(slots)
            top = self._fresh - self.count
            self._freed[top : top + len(slots)] = slots
            self.count -= len(slots)

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
