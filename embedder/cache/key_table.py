"""A hash table from keys to slots that looks up a batch of keys at once.

Keys are 32-byte hashes, so their own bits select their bucket. A dictionary needs several objects
per key, each a cache miss at every lookup, and stops to rehash now and then. In this table the
memory accesses of a batch overlap, and entries never move.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedder.cache.store.records import KEY_BYTES
from embedder.core.errors import InvalidInput

Words = NDArray[np.uint64]
"""uint64[n, 4], one row per key; the first word is the tag of its model."""

Slots = NDArray[np.intp]

WAYS = 8
"""Cells per bucket: together one cache line of the processor."""

FILL = 4
"""Average keys per bucket; at this load one key in a hundred finds its bucket full."""

_LOW = np.uint64(2**32 - 1)
_BUCKET_WORD, _CHECK_WORD = 1, 2
"""The words of a key that select its bucket, and that its cell holds the upper half of."""


def words_of(keys: Sequence[bytes]) -> Words:
    """Return the keys as words.

    Raises:
        InvalidInput: a key does not have 32 bytes.
    """
    joined = b"".join(keys)
    if len(joined) != KEY_BYTES * len(keys):
        raise InvalidInput("keys", f"must have {KEY_BYTES} bytes each")
    return np.frombuffer(joined, np.uint64).reshape(-1, 4)


def keys_of(words: Words) -> list[bytes]:
    """Return the words as keys."""
    joined = words.tobytes()
    return [joined[at : at + KEY_BYTES] for at in range(0, len(joined), KEY_BYTES)]


class KeyTable:
    """Maps keys to slots below ``capacity``.

    A cell holds the slot and half a word of its key, so that other keys of the bucket are seldom
    compared in full; an empty cell is 0. Keys whose bucket is full are in an overflow dictionary.
    """

    def __init__(self, capacity: int) -> None:
        buckets = 1 << max(0, (capacity - 1) // FILL).bit_length()
        self._cells = np.zeros((buckets, WAYS), np.uint64)
        self._mask = np.uint64(buckets - 1)
        self._overflow: dict[bytes, int] = {}
        self.words: Words = np.empty((capacity, 4), np.uint64)

    def find(self, words: Words) -> Slots:
        """Return the slot of every key, -1 if it has none."""
        buckets = self._cells.take((words[:, _BUCKET_WORD] & self._mask).astype(np.intp), 0)
        # If the upper half of a cell is that of the key, the XOR leaves the slot.
        matching = (buckets ^ (words[:, _CHECK_WORD, None] & ~_LOW)) <= _LOW
        cells = buckets[np.arange(len(words)), matching.argmax(1)]
        slots: Slots = (cells & _LOW).astype(np.intp) - 1
        same = (self.words.take(slots, 0, mode="wrap") == words).all(1)
        # The words of an empty cell are undefined and may equal the key by chance.
        others = np.flatnonzero(~same | (slots < 0))
        if len(others):
            slots[others] = -1
            self._find_elsewhere(others, words, buckets, matching, slots)
        return slots

    def insert(self, words: Words, slots: Slots) -> None:
        """Map distinct keys that are not in the table to slots."""
        self.words[slots] = words
        bucket_rows = self._bucket_of(words)
        cells = (words[:, _CHECK_WORD] & ~_LOW) | (slots + 1).astype(np.uint64)
        pending = np.arange(len(words))
        while len(pending):
            bucket = bucket_rows[pending]
            ways = (self._cells[bucket] == 0).argmax(1)
            full = self._cells[bucket, ways] != 0
            for row in pending[full].tolist():
                self._overflow[words[row].tobytes()] = int(slots[row])
            bucket, ways, pending = bucket[~full], ways[~full], pending[~full]
            self._cells[bucket, ways] = cells[pending]
            # If several keys chose the same cell, one of them has it now.
            pending = pending[self._cells[bucket, ways] != cells[pending]]

    def remove(self, slots: Slots) -> None:
        """Remove the keys of distinct slots in use."""
        buckets = self._bucket_of(self.words[slots])
        matches = (self._cells[buckets] & _LOW) == (slots + 1).astype(np.uint64)[:, None]
        stored = matches.any(1)
        self._cells[buckets[stored], matches.argmax(1)[stored]] = 0
        for key in keys_of(self.words[slots[~stored]]):
            del self._overflow[key]

    def _bucket_of(self, words: Words) -> Slots:
        return (words[:, _BUCKET_WORD] & self._mask).astype(np.intp)

    def _find_elsewhere(
        self,
        rows: Slots,
        words: Words,
        buckets: NDArray[np.uint64],
        matching: NDArray[np.bool_],
        slots: Slots,
    ) -> None:
        """Search other cells with the same half word, and the overflow dictionary."""
        for row in rows[matching[rows].sum(1) > 1].tolist():
            for cell in buckets[row, matching[row]].tolist():
                slot = (cell & int(_LOW)) - 1
                if slot >= 0 and np.array_equal(self.words[slot], words[row]):
                    slots[row] = slot
        if self._overflow:
            missing = rows[slots[rows] < 0]
            found = map(self._overflow.get, keys_of(words[missing]))
            slots[missing] = [-1 if slot is None else slot for slot in found]
