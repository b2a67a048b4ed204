"""Finds the rows of a collection's segments whose metadata meets a filter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedder.index.collection.open_collection import OpenCollection
from embedder.index.collection.search_view import Allowed
from embedder.index.contract.filters import Filter
from embedder.index.segments.index_state import IndexState
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
    allowed = []
    for live in state.segments:
        mask = _are_among(live.segment.pks, live.segment.seqs, versions)
        allowed.append(np.flatnonzero(mask & live.live_mask()))
    delta, size = state.delta, state.delta.size
    mask = _are_among(delta.pks[:size], delta.seqs[:size], versions)
    return [*allowed, np.flatnonzero(mask & delta.live)]


def _are_among(
    pks: NDArray[np.int64], seqs: NDArray[np.int64], versions: Sequence[NDArray[np.int64]]
) -> NDArray[np.bool_]:
    mask = np.zeros(len(pks), np.bool_)
    for pairs in versions:
        if len(pairs):
            at = np.minimum(np.searchsorted(pairs[:, 0], pks), len(pairs) - 1)
            mask |= (pairs[at, 0] == pks) & (pairs[at, 1] == seqs)
    return mask
