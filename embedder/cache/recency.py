"""The exact LRU order of slots, in constant time per use.

Every use appends the slot and its tick to a log, and stores the tick of the slot. A log entry whose
tick differs from that of its slot is stale (the slot was used again or freed) and is skipped. The
caller gives the first tick of each call, so that several orders can be merged.
"""

from __future__ import annotations

import numpy as np

from embedder.cache.key_table import Slots

FREE = np.iinfo(np.int64).min
"""The tick of a free slot."""

WINDOW = 1024
"""Log entries that are read together."""


class Recency:
    """The order of slots below ``capacity``, least recently used first."""

    def __init__(self, capacity: int) -> None:
        self.ticks = np.full(capacity, FREE, np.int64)
        self._capacity = capacity
        # After a compaction all slots fit before the valid entries, and once more behind them. The
        # operating system gives memory only to the part that is used.
        self._log_slots = np.empty(3 * capacity + WINDOW, np.intp)
        self._log_ticks = np.empty(len(self._log_slots), np.int64)
        self._head = self._tail = capacity

    def use(self, slots: Slots, first_tick: int) -> int:
        """Record a use of each slot, from ``first_tick`` on, which exceeds all earlier ticks.

        Return the tick of the next use.
        """
        for start in range(0, len(slots), WINDOW):
            window = slots[start : start + WINDOW]
            times = np.arange(first_tick + start, first_tick + start + len(window), dtype=np.int64)
            if self._tail + len(window) > len(self._log_slots):
                self._compact()
            end = self._tail + len(window)
            self._log_slots[self._tail : end] = window
            self._log_ticks[self._tail : end] = times
            self._tail = end
            # A slot that occurs twice keeps its last tick.
            self.ticks[window] = times
        return first_tick + len(slots)

    def use_before(self, slots: Slots, first_tick: int) -> None:
        """Record each slot as used before those before it; the last one gets ``first_tick``."""
        if self._head < len(slots):
            self._compact()
        part = slice(self._head - len(slots), self._head)
        self._log_slots[part] = slots[::-1]
        self._log_ticks[part] = np.arange(first_tick, first_tick + len(slots), dtype=np.int64)
        self._head = part.start
        self.ticks[self._log_slots[part]] = self._log_ticks[part]

    def free(self, slots: Slots) -> None:
        """Remove the slots from the order."""
        self.ticks[slots] = FREE

    def oldest(self, most: int, before: int | None = None) -> Slots:
        """Return up to ``most`` slots in order that were used before the tick ``before``.

        Fewer may be returned although more exist; none are returned only if none exist.
        """
        while self._head < self._tail:
            part = slice(self._head, min(self._tail, self._head + WINDOW))
            slots, ticks = self._log_slots[part], self._log_ticks[part]
            valid = self.ticks[slots] == ticks
            if valid.any():
                self._head += int(valid.argmax())
                if before is not None:
                    valid &= ticks < before
                found: Slots = slots[valid][:most]
                return found
            self._head = part.stop
        return np.empty(0, np.intp)

    def oldest_tick(self) -> int:
        """Return the tick of the least recently used slot, of at least one slot in use."""
        return int(self.ticks[self.oldest(1)[0]])

    def used(self) -> Slots:
        """Return all slots in use, unordered, in time proportional to the capacity."""
        return np.flatnonzero(self.ticks != FREE)

    def _compact(self) -> None:
        """Move the valid entries to where there is room for all slots on both sides."""
        part = slice(self._head, self._tail)
        valid = self.ticks[self._log_slots[part]] == self._log_ticks[part]
        slots, times = self._log_slots[part][valid], self._log_ticks[part][valid]
        self._head, self._tail = self._capacity, self._capacity + len(slots)
        self._log_slots[self._head : self._tail] = slots
        self._log_ticks[self._head : self._tail] = times
