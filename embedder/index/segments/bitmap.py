"""Sets of rows of a segment, one bit a row, in the order of FAISS bitmaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.index.segments.scoring import Positions

Bitmap = NDArray[np.uint8]
"""One bit a row, the first row in the lowest bit."""


def pack_bits(positions: Positions, count: int) -> Bitmap:
    """Return a bitmap of ``count`` rows with the bits at ``positions`` set."""
    mask = np.zeros(count, np.bool_)
    mask[positions] = True
    return np.packbits(mask, bitorder="little")


def are_set(bits: Bitmap, positions: Positions) -> NDArray[np.bool_]:
    """Return bool of the shape of ``positions``: whether the bit at each position is set."""
    mask: NDArray[np.bool_] = (bits[positions >> 3] >> (positions & 7)) & 1 != 0
    return mask
