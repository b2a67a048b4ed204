"""Finds the rows of a collection's segments whose metadata meets a filter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedder.index.collection.open_collection import OpenCollection
from embedder.index.collection.search_view import Allowed
from embedder.index.contract.filters import Filter
from embedder.index.segments.index_state import IndexState
from embedder.index.segments.segment import are_among
from embedder.index.storage.reading import Reader

TRIES = 3
"""Attempts to filter at the sequence number of the state, while other requests write."""


def filtered_state(
    collection: OpenCollection, reader: Reader, condition: Filter
) -> tuple[IndexState | None, Allowed | None]:
    """Return a state, at least as new as the filtered points, and its rows that meet the filter.

    Both are None before the first vector.
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
    return state, None if state is None else _positions(state, versions)


def _positions(state: IndexState, versions: Sequence[NDArray[np.int64]]) -> Allowed:
    """Return for each segment, then for the delta, the positions of live rows among versions."""
    delta, size = state.delta, state.delta.size
    columns = [
        *((live.segment.pks, live.segment.seqs, live.live_mask()) for live in state.segments),
        (delta.pks[:size], delta.seqs[:size], delta.live),
    ]
    return [
        np.flatnonzero(live & np.any([are_among(pks, seqs, some) for some in versions], axis=0))
        for pks, seqs, live in columns
    ]
