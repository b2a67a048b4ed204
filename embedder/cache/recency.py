"""In which order slots were last used: an exact order, of which each use costs a fixed time.

Every use writes the slot and its tick to the end of a log, and the tick beside the slot; what the
log says of a slot that was used again since, or freed, no longer agrees with that and is passed
over. Ticks come from outside, so that several such orders have one common order. Knows nothing of
what lies at a slot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.cache.key_table import Slots

Ticks = NDArray[np.int64]

FREE = np.iinfo(np.int64).min
"""The tick of a slot that holds nothing."""

WINDOW = 1024
"""Entries of the log that are looked at together."""


class Recency:
    """The order of slots below ``capacity``, least recently used first."""

    def __init__(self, capacity: int) -> None:
        self.ticks = np.full(capacity, FREE, np.int64)
        # Twice the slots, and room for what comes between two clearings.
        self._slots = np.empty(2 * capacity + WINDOW, np.intp)
        self._times = np.empty(len(self._slots), np.int64)
        self._head = self._tail = 0
        # What came in as older than all else, the oldest last.
        self._older: list[tuple[Slots, Ticks]] = []

    def use(self, slots: Slots, ticks: Ticks) -> None:
        """Note a use of each slot; ticks ascend, and exceed all that were given here before."""
        for start in range(0, len(slots), WINDOW):
            part, times = slots[start : start + WINDOW], ticks[start : start + WINDOW]
            if self._tail + len(part) > len(self._slots):
                self._clear_gaps()
            end = self._tail + len(part)
            self._slots[self._tail : end] = part
            self._times[self._tail : end] = times
            self._tail = end
            # Of a slot that comes twice the last tick stays.
            self.ticks[part] = times

    def use_before(self, slots: Slots, ticks: Ticks) -> None:
        """Note that each slot was used before all others; ticks descend, below all others."""
        if len(slots):
            self.ticks[slots] = ticks
            self._older.append((slots, ticks))

    def free(self, slots: Slots) -> None:
        """Forget the slots."""
        self.ticks[slots] = FREE

    def oldest(self, most: int, before: int | None = None) -> Slots:
        """Return up to ``most`` slots in order, only those used before the tick ``before``.

        There may be more than are returned; there are none where none is returned.
        """
        self._drop_stale()
        if self._older:
            slots, ticks = (part[::-1] for part in self._older[-1])
        else:
            part = slice(self._head, min(self._tail, self._head + WINDOW))
            slots, ticks = self._slots[part], self._times[part]
        good = self.ticks[slots] == ticks
        if before is not None:
            good &= ticks < before
        found: Slots = slots[good][:most]
        return found

    def oldest_tick(self) -> int | None:
        """Return when the least recently used slot was used; None where there is no slot."""
        slots = self.oldest(1)
        return int(self.ticks[slots[0]]) if len(slots) else None

    def used(self) -> Slots:
        """Return all slots, in no order; takes time for each that there may be."""
        return np.flatnonzero(self.ticks != FREE)

    def in_order(self) -> Slots:
        """Return all slots, most recently used first."""
        used = self.used()
        ordered: Slots = used[np.argsort(-self.ticks[used])]
        return ordered

    def _drop_stale(self) -> None:
        """Let the log, and what is older, begin with what still holds."""
        while self._older:
            slots, ticks = self._older[-1]
            good = np.flatnonzero(self.ticks[slots] == ticks)
            if len(good):
                last = int(good[-1]) + 1
                self._older[-1] = slots[:last], ticks[:last]
                return
            self._older.pop()
        while self._head < self._tail:
            part = slice(self._head, min(self._tail, self._head + WINDOW))
            good = np.flatnonzero(self.ticks[self._slots[part]] == self._times[part])
            if len(good):
                self._head += int(good[0])
                return
            self._head = part.stop

    def _clear_gaps(self) -> None:
        """Move what holds to the beginning of the log; more than half of it is free then."""
        part = slice(self._head, self._tail)
        good = self.ticks[self._slots[part]] == self._times[part]
        slots, times = self._slots[part][good], self._times[part][good]
        self._head, self._tail = 0, len(slots)
        self._slots[: len(slots)] = slots
        self._times[: len(slots)] = times
