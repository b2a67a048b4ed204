"""Entries that all differ: row i holds the number ``first + i`` everywhere."""

from __future__ import annotations

import numpy as np

from embedder.cache.slab import OVERHEAD_BYTES
from embedder.core.entries.entries import Entries


def entry_size(width: int) -> int:
    """Return the bytes of an entry with ``width`` components."""
    return OVERHEAD_BYTES + 4 * width


def numbered_entries(count: int, width: int, first: int = 1) -> Entries:
    """Return ``count`` entries."""
    numbers = np.arange(first, first + count)
    vectors = np.repeat(numbers[:, None], width, axis=1).astype(np.float32)
    return Entries(vectors, numbers.astype(np.int32), numbers % 2 == 0)
