"""Where the entry of a key lies: a hash table that a whole batch of keys is looked up in at once.

Keys are 32 bytes and themselves hashes, so their own bits say where they belong. A dictionary would
need several objects for every key, each a wait for the memory at every lookup, and would stop
everything to rebuild itself now and then. Here the waits of a batch overlap, and nothing ever
moves. Knows nothing of what lies at a slot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedder.cache.store.records import KEY_BYTES
from embedder.core.errors import InvalidInput

Words = NDArray[np.uint64]
"""uint64[n, 4], one row a key: the first word is the tag of its model."""

Slots = NDArray[np.intp]

WAYS = 8
"""Cells of a bucket, which together are one line of the processor's cache."""

FILL = 4
"""Keys that a bucket is meant for; then one of a hundred finds its bucket full."""

_LOW = np.uint64(2**32 - 1)
_HOME, _MARK = 1, 2
"""The words of a key that say which bucket is its own, and how its cell is known."""


def words_of(keys: Sequence[bytes]) -> Words:
    """Return the keys as numbers.

    Raises:
        InvalidInput: they are not 32 bytes each.
    """
    joined = b"".join(keys)
    if len(joined) != KEY_BYTES * len(keys):
        raise InvalidInput("keys", f"must have {KEY_BYTES} bytes each")
    return np.frombuffer(joined, np.uint64).reshape(-1, 4)


def keys_of(words: Words) -> list[bytes]:
    """Return the numbers as keys again."""
    joined = words.tobytes()
    return [joined[at : at + KEY_BYTES] for at in range(0, len(joined), KEY_BYTES)]


class KeyTable:
    """Maps keys to slots below ``capacity``.

    A cell holds half a word of its key beside the slot, so that other keys of the bucket are seldom
    compared in full; an empty one is 0. Keys whose bucket is full lie in a dictionary.
    """

    def __init__(self, capacity: int) -> None:
        buckets = 1 << max(0, (capacity - 1) // FILL).bit_length()
        self._cells = np.zeros((buckets, WAYS), np.uint64)
        self._mask = np.uint64(buckets - 1)
        self._spilled: dict[bytes, int] = {}
        self.words: Words = np.empty((capacity, 4), np.uint64)

    def find(self, words: Words) -> Slots:
        """Return the slot of every key, -1 where it has none."""
        buckets = self._cells.take(self._homes(words), 0)
        # What remains of a cell, where the mark in its upper half is the key's own, is the slot.
        alike = (buckets ^ (words[:, _MARK, None] & ~_LOW)) <= _LOW
        cells = buckets[np.arange(len(words)), alike.argmax(1)]
        slots: Slots = (cells & _LOW).astype(np.intp) - 1
        same = (self.words.take(slots, 0, mode="wrap") == words).all(1)
        # Where a cell is empty these words are anybody's, and may be the key's own by chance.
        others = np.flatnonzero(~same | (slots < 0))
        if len(others):
            slots[others] = -1
            self._find_elsewhere(others, words, buckets, alike, slots)
        return slots

    def insert(self, words: Words, slots: Slots) -> None:
        """Map keys that are distinct and not there yet to slots."""
        self.words[slots] = words
        homes = self._homes(words)
        cells = (words[:, _MARK] & ~_LOW) | (slots + 1).astype(np.uint64)
        waiting = np.arange(len(words))
        while len(waiting):
            home = homes[waiting]
            ways = (self._cells[home] == 0).argmax(1)
            full = self._cells[home, ways] != 0
            for row in waiting[full].tolist():
                self._spilled[words[row].tobytes()] = int(slots[row])
            home, ways, waiting = home[~full], ways[~full], waiting[~full]
            self._cells[home, ways] = cells[waiting]
            # Of several that belong into the same cell, one is there now.
            waiting = waiting[self._cells[home, ways] != cells[waiting]]

    def remove(self, slots: Slots) -> None:
        """Forget the keys at these slots, which are distinct and all mapped to."""
        homes, ways, here = self._locate(slots)
        self._cells[homes, ways] = 0
        for key in keys_of(self.words[slots[~here]]):
            del self._spilled[key]

    def _homes(self, words: Words) -> Slots:
        return (words[:, _HOME] & self._mask).astype(np.intp)

    def _locate(self, slots: Slots) -> tuple[Slots, Slots, NDArray[np.bool_]]:
        """Return bucket and way of the slots that have a cell, and which of all those are."""
        homes = self._homes(self.words[slots])
        matches = (self._cells[homes] & _LOW) == (slots + 1).astype(np.uint64)[:, None]
        here = matches.any(1)
        return homes[here], matches.argmax(1)[here], here

    def _find_elsewhere(
        self,
        rows: Slots,
        words: Words,
        buckets: NDArray[np.uint64],
        alike: NDArray[np.bool_],
        slots: Slots,
    ) -> None:
        """Look in other cells with the same mark, and among the spilled."""
        for row in rows[alike[rows].sum(1) > 1].tolist():
            for cell in buckets[row, alike[row]].tolist():
                slot = (cell & int(_LOW)) - 1
                if slot >= 0 and np.array_equal(self.words[slot], words[row]):
                    slots[row] = slot
        if self._spilled:
            missing = rows[slots[rows] < 0]
            found = map(self._spilled.get, keys_of(words[missing]))
            slots[missing] = [-1 if slot is None else slot for slot in found]
