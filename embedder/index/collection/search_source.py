"""What one search reads: a state, a reader, and the rows of the state that meet the filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.index.collection.open_collection import OpenCollection
from embedder.index.collection.search_view import Allowed
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import Query
from embedder.index.segments.segment import are_among
from embedder.index.segments.segment_index import IndexState
from embedder.index.storage.reader import Reader

TRIES = 3
"""Optimistic attempts while points are overwritten, before a search runs with writers blocked; also
attempts to filter at the sequence number of the state, while other requests write.
"""


@dataclass(slots=True)
class Source:
    """What a search reads; without ``strict``, the reader may be ahead of the state or behind it.

    ``allowed`` are the rows of the state that meet the filter, None without one.
    """

    reader: Reader
    state: IndexState | None
    allowed: Allowed | None = None
    strict: bool = True


def reads_rows_first(query: Query) -> bool:
    """Say whether a search reads rows of the store before it searches the state."""
    return query.filter is not None or query.id is not None


def agreeing(
    collection: OpenCollection, reader: Reader, state: IndexState | None, query: Query
) -> Source:
    """Return the rows that meet the filter of a query, as the reader and the state agree."""
    if query.filter is None or state is None:
        return Source(reader, state)
    pairs, _ = reader.matching(collection.id, query.filter)
    return Source(reader, state, _positions(state, [pairs]))


def filtered(collection: OpenCollection, reader: Reader, condition: Filter) -> Source:
    """Return a state, at least as new as the filtered points, and its rows that meet the filter.

    The state is None before the first vector.
    """
    pairs, sequence = reader.matching(collection.id, condition)
    versions = [pairs]
    for _ in range(TRIES):
        # An older state would lack points that the filter has just found.
        collection.wait(sequence)
        state = collection.state
        if state is None or state.sequence == sequence:
            break
        pairs, sequence = reader.matching(collection.id, condition, sequence)
        versions.append(pairs)
    return Source(reader, state, None if state is None else _positions(state, versions))


def _positions(state: IndexState, versions: Sequence[NDArray[np.int64]]) -> Allowed:
    """Return for each segment, then for the delta, the positions of live rows among versions."""
    delta, size = state.delta, state.delta.size
    columns = [
        *((one.pks, one.seqs, one.live_mask()) for one in state.segments),
        (delta.pks[:size], delta.seqs[:size], delta.live),
    ]
    return [
        np.flatnonzero(live & np.any([are_among(pks, seqs, some) for some in versions], axis=0))
        for pks, seqs, live in columns
    ]
