"""Where the inputs of a batch lie in a rectangle: several short inputs share a row.

A rectangle has few free places then, whatever the lengths, and few different shapes occur: kernels
are compiled for every new shape. Tokens attend only to those of their own input.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROW_TOKENS = 128
"""Short inputs share rows of up to this many places. Attention costs little more than in shorter
rows; in longer ones its cost grows."""


STEP = 16
"""Rows of more than 64 places have a multiple of this."""


@dataclass(frozen=True, slots=True)
class RowLayout:
    """A rectangle of ``rows`` × ``length`` places; ``starts`` int64[n] is each input's first place.

    Places are numbered row by row. The tokens of an input are next to each other in one row.
    """

    rows: int
    length: int
    starts: NDArray[np.int64]


def lay_out(lengths: NDArray[np.int32]) -> RowLayout:
    """Return a layout with few free places, for at least one input; each has a token or more."""
    total, longest = int(lengths.sum()), int(lengths.max())
    if total <= ROW_TOKENS:
        return RowLayout(1, _rounded(total), np.cumsum(lengths, dtype=np.int64) - lengths)
    least = _rounded(max(longest, ROW_TOKENS // 2))
    best: RowLayout | None = None
    for length in range(least, max(least, ROW_TOKENS) + 1, STEP):
        rows, starts = _fill(lengths.tolist(), length)
        if best is None or rows * length <= best.rows * best.length:
            best = RowLayout(rows, length, np.array(starts, np.int64))
    assert best is not None
    return best


def _rounded(tokens: int) -> int:
    step = STEP if tokens > 64 else 8
    return -(-tokens // step) * step


def _fill(lengths: list[int], length: int) -> tuple[int, list[int]]:
    """Place each input, the longest first, in the row with the least room that is enough."""
    starts, rows = [0] * len(lengths), 0
    room: list[tuple[int, int]] = []  # free places and number of each row that is not full, sorted
    for number in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        place = bisect_left(room, (lengths[number], -1))
        if place == len(room):
            free, row = length, rows
            rows += 1
        else:
            free, row = room.pop(place)
        starts[number] = (row + 1) * length - free
        if free > lengths[number]:
            insort(room, (free - lengths[number], row))
    return rows, starts
