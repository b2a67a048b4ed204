"""Entries of one width in contiguous arrays, under their keys: one gather reads any of them.

The arrays have the size that the budget allows at most; the system gives them memory only where
something was written, and slots that were freed are taken again first. Knows nothing of budgets,
clocks, or what is to be forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from embedder.cache.recency import Recency, Slots
from embedder.types import Entries

_NONE = -1


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
        self._slots: dict[bytes, int] = {}
        self._keys: list[bytes | None] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, key: bytes) -> bool:
        return key in self._slots

    def find(self, keys: Sequence[bytes]) -> Slots:
        """Return the slot of every key, -1 where it is not here."""
        return np.fromiter(map(self._slots.get, keys, repeat(_NONE)), np.intp, len(keys))

    def read(self, slots: Slots) -> Entries:
        """Return copies of the entries."""
        return self._entries.take(slots)

    def keys_of(self, slots: Slots) -> list[bytes]:
        """Return the keys of slots that hold something."""
        keys = self._keys
        return [key for slot in slots.tolist() if (key := keys[slot]) is not None]

    def write(self, keys: Sequence[bytes], entries: Entries) -> Slots:
        """Set the entries of distinct keys, and return their slots."""
        slots = self.find(keys)
        for row in np.flatnonzero(slots < 0).tolist():
            slots[row] = self._slots[keys[row]] = self._allocate(keys[row])
        self._entries.put(slots, entries)
        return slots

    def free(self, slots: Slots) -> list[bytes]:
        """Forget what lies at distinct slots, and return its keys."""
        keys = self.keys_of(slots)
        for key, slot in zip(keys, slots.tolist(), strict=True):
            del self._slots[key]
            self._keys[slot] = None
            self._free.append(slot)
        self.recency.free(slots)
        return keys

    def of_tag(self, tag: bytes) -> Slots:
        """Return the slots of all keys that begin with ``tag``."""
        found = [slot for key, slot in self._slots.items() if key.startswith(tag)]
        return np.array(found, np.intp)

    def put_times(self) -> NDArray[np.float64]:
        """Return float64[n], when each entry was put."""
        return self.put_s[np.fromiter(self._slots.values(), np.intp, len(self._slots))]

    def _allocate(self, key: bytes) -> int:
        if self._free:
            slot = self._free.pop()
            self._keys[slot] = key
            return slot
        self._keys.append(key)
        return len(self._keys) - 1
