"""Entries that all differ: row i holds the number ``first + i`` everywhere."""

from __future__ import annotations

import numpy as np

from embedder.cache.slab import BLOB_BYTES, OVERHEAD_BYTES
from embedder.core.entries.blobs import RAGGED
from embedder.core.entries.entries import Entries


def entry_size(width: int, number: int = 0) -> int:
    """Return the bytes of an entry with ``width`` components, or of a ragged one of a number."""
    if width == RAGGED:
        return OVERHEAD_BYTES + BLOB_BYTES + 4 * _length(number)
    return OVERHEAD_BYTES + 4 * width


def components(number: int, width: int) -> list[float] | bytes:
    """Return the row of a number."""
    if width == RAGGED:
        return np.full(_length(number), number, np.float32).tobytes()
    return [float(number)] * width


def _length(number: int) -> int:
    return number * 7 % 60


def numbered_entries(count: int, width: int, first: int = 1) -> Entries:
    """Return ``count`` entries."""
    numbers = np.arange(first, first + count)
    vectors = Entries.allocate(count, width).vectors
    if count:
        vectors[:] = [components(number, width) for number in numbers.tolist()]
    return Entries(vectors, numbers.astype(np.int32), numbers % 2 == 0)
