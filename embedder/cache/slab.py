"""Entries of one width in contiguous arrays, under their keys: one gather reads any of them.

The arrays have the size that the budget allows at most; the system gives them memory only where
something was written, and slots that were freed are taken again first. Knows nothing of budgets,
clocks, or what is to be forgotten.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.cache.key_table import KeyTable, Slots, Words
from embedder.cache.recency import Recency
from embedder.core.types import Entries


class Slab:
    """Up to ``capacity`` entries of vectors float32[width].

    ``deadlines`` and ``put_s`` are float64[capacity] for whoever keeps a clock; where a slot is
    free they hold nothing that means anything.
    """

    def __init__(self, width: int, capacity: int) -> None:
        self.width = width
        self.recency = Recency(capacity)
        self.deadlines = np.empty(capacity, np.float64)
        self.put_s = np.empty(capacity, np.float64)
        self._entries = Entries.allocate(capacity, width)
        self._table = KeyTable(capacity)
        # A stack of slots that were freed; those from `_fresh` on were never taken.
        self._freed = np.empty(capacity, np.intp)
        self._freed_count = self._fresh = 0

    def __len__(self) -> int:
        return self._fresh - self._freed_count

    def find(self, words: Words) -> Slots:
        """Return the slot of every key, -1 where it is not here."""
        return self._table.find(words)

    def read(self, slots: Slots) -> Entries:
        """Return copies of the entries."""
        return self._entries.take(slots)

    def words_at(self, slots: Slots) -> Words:
        """Return the keys of slots that hold something."""
        words: Words = self._table.words[slots]
        return words

    def write(self, words: Words, entries: Entries) -> Slots:
        """Set the entries of distinct keys, and return their slots."""
        slots = self._table.find(words)
        new = np.flatnonzero(slots < 0)
        if len(new):
            slots[new] = self._take(len(new))
            self._table.insert(words[new], slots[new])
        self._entries.put(slots, entries)
        return slots

    def free(self, slots: Slots) -> None:
        """Forget what lies at distinct slots."""
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
        """Return float64[n], when each entry was put."""
        times: NDArray[np.float64] = self.put_s[self.recency.used()]
        return times

    def _take(self, count: int) -> Slots:
        """Return free slots, those that have memory already first."""
        again = min(count, self._freed_count)
        self._freed_count -= again
        freed = self._freed[self._freed_count : self._freed_count + again]
        fresh = np.arange(self._fresh, self._fresh + count - again)
        self._fresh += count - again
        return np.concatenate([freed, fresh])
