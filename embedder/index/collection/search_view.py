"""A state as one search reads it, and the locations of rows in it.

A location int64 is ``number << 40 | position``: the number of a segment, or of the delta, which
follows the last segment, and the position of a row in it. A missing row is -1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.points import Metric
from embedder.index.segments.scoring import Positions
from embedder.index.segments.segment_index import Delta, IndexState
from embedder.settings.model import IndexSettings

_POSITION_BITS = 40
_POSITION_MASK = (1 << _POSITION_BITS) - 1

Locations = NDArray[np.int64]

Allowed = Sequence[Positions]
"""The positions of live rows that may be found: an array for each segment, then for the delta."""


@dataclass(slots=True)
class SearchView:
    """A state and how to search it; ``fetch`` reads normalized vectors of pks from the store."""

    state: IndexState
    metric: Metric
    settings: IndexSettings
    fetch: Callable[[NDArray[np.int64]], Vectors]
    allowed: Allowed | None = None


def locations_of(number: int, positions: Positions) -> Locations:
    """Return the locations of these positions in segment ``number``; -1 (no hit) stays -1."""
    # Minus one has every bit set, so the number does not change it.
    return positions if number == 0 else positions | (number << _POSITION_BITS)


def is_single(state: IndexState) -> bool:
    """Return whether one segment holds every row, so that locations are positions."""
    return len(state.segments) == 1 and not state.delta.size


def by_segment(
    state: IndexState, locations: Locations
) -> Iterator[tuple[int, NDArray[np.bool_] | slice, Positions]]:
    """Yield for each segment its number, the mask of the locations in it, and their positions.

    Missing rows, -1, are left out, except where `is_single`: their position is -1 then.
    """
    if is_single(state):
        yield 0, slice(None), locations
        return
    numbers, positions = locations >> _POSITION_BITS, locations & _POSITION_MASK
    for number in range(len(state.segments) + 1):
        mine = numbers == number
        if mine.any():
            yield number, mine, positions[mine]


def ids_at(state: IndexState, locations: Locations) -> list[str]:
    """Return the ids of the points at locations."""
    if is_single(state):
        return state.segments[0].ids_at(locations)
    ids = [""] * len(locations)
    for number, mine, positions in by_segment(state, locations):
        found = state.source(number).ids_at(positions)
        for row, name in zip(np.arange(len(ids))[mine].tolist(), found, strict=True):
            ids[row] = name
    return ids


def seq_at(state: IndexState, location: int) -> int:
    """Return the sequence number of the version at a location."""
    seqs = state.source(location >> _POSITION_BITS).seqs
    return int(seqs[location & _POSITION_MASK])


def vectors_at(view: SearchView, pks: NDArray[np.int64], locations: Locations) -> Vectors:
    """Return the normalized vectors float32[n, d] of points at locations."""
    vectors = np.empty((len(locations), view.state.width), np.float32)
    for number, mine, positions in by_segment(view.state, locations):
        source, at = rows_of(view, number, pks[mine], positions)
        vectors[mine] = source[at]
    return vectors


def rows_of(
    view: SearchView, number: int, pks: NDArray[np.int64], positions: Positions
) -> tuple[Vectors, Positions]:
    """Return vectors of a segment, and where those at the positions are among them; -1 stays -1.

    The pks have the shape of the positions, and so has the second result.
    """
    segment = view.state.source(number)
    if isinstance(segment, Delta):
        return segment.rows, positions
    if segment.node_vectors is not None:
        return segment.node_vectors, segment.nodes_at(positions)
    at, found = np.full(positions.shape, -1, np.int64), positions >= 0
    # Several queries may have found the same point: read its vector once.
    distinct, first, at[found] = np.unique(pks[found], return_index=True, return_inverse=True)
    vectors = segment.vectors(positions[found][first])
    return view.fetch(distinct) if vectors is None else vectors, at
