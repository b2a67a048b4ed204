"""Entries of one width in contiguous arrays, by key, so that one gather reads any of them.

The arrays have the largest size that the budget allows. The operating system gives them memory
where something is written, and freed slots are used again first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.cache.key_table import KeyTable, Slots, Words
from embedder.cache.recency import Recency
from embedder.core.types import Entries


class Slab:
    """Up to ``capacity`` entries of vectors float32[width].

    ``deadlines`` and ``put_s`` are float64[capacity] on the caller's clock; the values of free
    slots are undefined.
    """

    def __init__(self, width: int, capacity: int) -> None:
        self.width = width
        self.recency = Recency(capacity)
        self.deadlines = np.empty(capacity, np.float64)
        self.put_s = np.empty(capacity, np.float64)
        self._entries = Entries.allocate(capacity, width)
        self._table = KeyTable(capacity)
        # A stack of freed slots; slots from `_fresh` on were never used.
        self._freed = np.empty(capacity, np.intp)
        self._freed_count = self._fresh = 0

    def __len__(self) -> int:
        return self._fresh - self._freed_count

    def find(self, words: Words) -> Slots:
        """Return the slot of every key, -1 if it has none."""
        return self._table.find(words)

    def read(self, slots: Slots) -> Entries:
        """Return copies of the entries."""
        return self._entries.take(slots)

    def words_at(self, slots: Slots) -> Words:
        """Return the keys of slots in use."""
        words: Words = self._table.words[slots]
        return words

    def write(self, words: Words, entries: Entries) -> Slots:
        """Write the entries of distinct keys and return their slots."""
        slots = self._table.find(words)
        new = np.flatnonzero(slots < 0)
        if len(new):
            slots[new] = self._take(len(new))
            self._table.insert(words[new], slots[new])
        self._entries.put(slots, entries)
        return slots

    def free(self, slots: Slots) -> None:
        """Remove the entries at distinct slots."""
        if len(slots):
            self._table.remove(slots)
            self.recency.free(slots)
            end = self._freed_count + len(slots)
            self._freed[self._freed_count : end] = slots
            self._freed_count = end

    def of_tag(self, tag: bytes) -> Slots:
        """Return the slots of all keys that begin with ``tag``."""
        slots = self.recency.used()
        same: Slots = slots[self.words_at(slots)[:, 0] == np.frombuffer(tag, np.uint64)[0]]
        return same

    def put_times(self) -> NDArray[np.float64]:
        """Return float64[n], the time at which each entry was put."""
        times: NDArray[np.float64] = self.put_s[self.recency.used()]
        return times

    def _take(self, count: int) -> Slots:
        """Return free slots; freed slots, which have memory already, come first."""
        reused = min(count, self._freed_count)
        self._freed_count -= reused
        freed = self._freed[self._freed_count : self._freed_count + reused]
        fresh = np.arange(self._fresh, self._fresh + count - reused)
        self._fresh += count - reused
        return np.concatenate([freed, fresh])
