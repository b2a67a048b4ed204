"""The exact LRU order of slots, in constant time per use.

Every use appends the slot and its tick to a log, and stores the tick of the slot. A log entry whose
tick differs from that of its slot is stale (the slot was used again or freed) and is skipped. The
caller gives the ticks, so that several orders can be merged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.cache.key_table import Slots

Ticks = NDArray[np.int64]

FREE = np.iinfo(np.int64).min
"""The tick of a free slot."""

WINDOW = 1024
"""Log entries that are read together."""


class Recency:
    """The order of slots below ``capacity``, least recently used first."""

    def __init__(self, capacity: int) -> None:
        self.ticks = np.full(capacity, FREE, np.int64)
        # Room for all slots twice, and for a window between two compactions.
        self._log_slots = np.empty(2 * capacity + WINDOW, np.intp)
        self._log_ticks = np.empty(len(self._log_slots), np.int64)
        self._head = self._tail = 0
        # Slots that were added as older than all others, the oldest last.
        self._older: list[tuple[Slots, Ticks]] = []

    def use(self, slots: Slots, ticks: Ticks) -> None:
        """Record a use of each slot; ticks ascend and exceed all earlier ones."""
        for start in range(0, len(slots), WINDOW):
            window, times = slots[start : start + WINDOW], ticks[start : start + WINDOW]
            if self._tail + len(window) > len(self._log_slots):
                self._compact()
            end = self._tail + len(window)
            self._log_slots[self._tail : end] = window
            self._log_ticks[self._tail : end] = times
            self._tail = end
            # A slot that occurs twice keeps its last tick.
            self.ticks[window] = times

    def use_before(self, slots: Slots, ticks: Ticks) -> None:
        """Record each slot as used before all others; ticks descend below all earlier ones."""
        if len(slots):
            self.ticks[slots] = ticks
            self._older.append((slots, ticks))

    def free(self, slots: Slots) -> None:
        """Remove the slots from the order."""
        self.ticks[slots] = FREE

    def oldest(self, most: int, before: int | None = None) -> Slots:
        """Return up to ``most`` slots in order that were used before the tick ``before``.

        Fewer may be returned although more exist; none are returned only if none exist.
        """
        self._drop_stale()
        if self._older:
            slots, ticks = (part[::-1] for part in self._older[-1])
        else:
            part = slice(self._head, min(self._tail, self._head + WINDOW))
            slots, ticks = self._log_slots[part], self._log_ticks[part]
        valid = self.ticks[slots] == ticks
        if before is not None:
            valid &= ticks < before
        found: Slots = slots[valid][:most]
        return found

    def oldest_tick(self) -> int | None:
        """Return the tick of the least recently used slot, None if there is no slot."""
        slots = self.oldest(1)
        return int(self.ticks[slots[0]]) if len(slots) else None

    def used(self) -> Slots:
        """Return all slots in use, unordered, in time proportional to the capacity."""
        return np.flatnonzero(self.ticks != FREE)

    def in_order(self) -> Slots:
        """Return all slots, most recently used first."""
        used = self.used()
        ordered: Slots = used[np.argsort(-self.ticks[used])]
        return ordered

    def _drop_stale(self) -> None:
        """Remove stale entries from the oldest end."""
        while self._older:
            slots, ticks = self._older[-1]
            valid = np.flatnonzero(self.ticks[slots] == ticks)
            if len(valid):
                last = int(valid[-1]) + 1
                self._older[-1] = slots[:last], ticks[:last]
                return
            self._older.pop()
        while self._head < self._tail:
            part = slice(self._head, min(self._tail, self._head + WINDOW))
            valid = np.flatnonzero(self.ticks[self._log_slots[part]] == self._log_ticks[part])
            if len(valid):
                self._head += int(valid[0])
                return
            self._head = part.stop

    def _compact(self) -> None:
        """Move valid entries to the beginning of the log; more than half of it is free then."""
        part = slice(self._head, self._tail)
        valid = self.ticks[self._log_slots[part]] == self._log_ticks[part]
        slots, times = self._log_slots[part][valid], self._log_ticks[part][valid]
        self._head, self._tail = 0, len(slots)
        self._log_slots[: len(slots)] = slots
        self._log_ticks[: len(slots)] = times
