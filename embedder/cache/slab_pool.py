"""The slabs of all widths, with one common LRU order and the bytes that they take."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from embedder.cache.key_table import keys_of
from embedder.cache.recency import Ticks
from embedder.cache.slab import Slab

OVERHEAD_BYTES = 160
"""Bytes of an entry beside its components: key, places in the table and the order, deadline."""

FLOAT_BYTES = 4


def entry_bytes(width: int) -> int:
    """Return the bytes of an entry with ``width`` components."""
    return width * FLOAT_BYTES + OVERHEAD_BYTES


class SlabPool:
    """One slab per width. Each has room for ``max_bytes`` and ``spare`` entries more."""

    def __init__(self, max_bytes: int, spare: int) -> None:
        self._max_bytes = max_bytes
        self._spare = spare
        self._slabs: dict[int, Slab] = {}
        self._next_tick = 0
        self._first_tick = 0

    def __len__(self) -> int:
        """Return the number of entries."""
        return sum(map(len, self._slabs.values()))

    def __iter__(self) -> Iterator[Slab]:
        """Yield the slabs; they may be dropped meanwhile."""
        return iter(list(self._slabs.values()))

    @property
    def total_bytes(self) -> int:
        """Return the bytes that the entries take."""
        return sum(len(slab) * entry_bytes(slab.width) for slab in self._slabs.values())

    def find(self, width: int) -> Slab | None:
        """Return the slab of a width, or None if there is none."""
        return self._slabs.get(width)

    def ensure(self, width: int) -> Slab:
        """Return the slab of a width; make it if there is none."""
        slab = self._slabs.get(width)
        if slab is None:
            capacity = self._max_bytes // entry_bytes(width) + self._spare
            slab = self._slabs[width] = Slab(width, capacity)
        return slab

    def drop_if_empty(self, slab: Slab) -> None:
        """Release the memory of a slab without entries."""
        if not len(slab):
            self._slabs.pop(slab.width, None)

    def clear(self) -> None:
        """Drop all slabs."""
        self._slabs.clear()

    def keys(self) -> list[bytes]:
        """Return all keys, most recently used first."""
        slabs = list(self)
        if not slabs:
            return []
        orders = [slab.recency.in_order() for slab in slabs]
        ticks = [slab.recency.ticks[order] for slab, order in zip(slabs, orders, strict=True)]
        words = [slab.words_at(order) for slab, order in zip(slabs, orders, strict=True)]
        return keys_of(np.concatenate(words)[np.argsort(-np.concatenate(ticks))])

    def oldest(self) -> tuple[Slab, int | None]:
        """Return the slab of the least recently used entry.

        The tick is the next candidate's in another slab, None if there is no other slab.
        """
        if len(self._slabs) == 1:
            return next(iter(self._slabs.values())), None
        ticks = [(slab.recency.oldest_tick(), slab.width) for slab in self._slabs.values()]
        ordered = sorted((tick, width) for tick, width in ticks if tick is not None)
        return self._slabs[ordered[0][1]], ordered[1][0] if len(ordered) > 1 else None

    def later_ticks(self, count: int) -> Ticks:
        """Return ascending ticks after all others."""
        ticks = np.arange(self._next_tick, self._next_tick + count, dtype=np.int64)
        self._next_tick += count
        return ticks

    def earlier_ticks(self, count: int) -> Ticks:
        """Return descending ticks before all others."""
        self._first_tick -= count
        return np.arange(count, dtype=np.int64)[::-1] + self._first_tick
