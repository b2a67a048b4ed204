"""Finds the nearest points of one state: approximate candidates of each segment, then exact scores.

The result is deterministic: a score depends on two vectors alone, and of equal scores the lower pk
comes first, however the points are distributed over segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.collection.search_view import (
    Locations,
    SearchView,
    by_segment,
    is_single,
    locations_of,
    rows_of,
)
from embedder.index.contract.kinds import OVERFETCH, IndexKind
from embedder.index.segments.scoring import Positions, Scores, exact_scores, largest, nearest_rows
from embedder.index.segments.segment_search import SegmentSearch

MARGIN = 8
"""Candidates fetched beyond ``k``: approximate scores may swap neighbours, and ties show here."""
MAX_TIED = 4096
"""Upper bound on the candidates that are fetched to break ties by pk."""
SCORED_AT_ONCE = 8192
"""Candidates scored at once: 25 MB of doubles at 384 components."""


# Not frozen, like all objects of a search: making each would take a hundredth of a fast one.
@dataclass(slots=True)
class Neighbors:
    """The points that one query found, nearest first, and the locations of their rows."""

    scores: Scores
    pks: NDArray[np.int64]
    locations: Locations

    def __len__(self) -> int:
        return len(self.pks)

    def take(self, rows: NDArray[np.int64] | slice | NDArray[np.bool_]) -> Neighbors:
        """Return the chosen rows."""
        return Neighbors(self.scores[rows], self.pks[rows], self.locations[rows])


def search(view: SearchView, queries: Vectors, k: int) -> list[Neighbors]:
    """Return the ``k`` nearest points, or all, of each normalized query float32[q, d]."""
    answers = _attempt(view, queries, k, k + MARGIN)
    for row, found in enumerate(answers):
        size = k + MARGIN
        while len(found) >= size and found.scores[k - 1] == found.scores[-1]:
            if size >= MAX_TIED:
                break
            size *= 4
            (found,) = _attempt(view, queries[row : row + 1], k, size)
        answers[row] = found
    return [found if len(found) <= k else found.take(slice(k)) for found in answers]


def _attempt(view: SearchView, queries: Vectors, k: int, size: int) -> list[Neighbors]:
    """Return the nearest of at least ``size`` candidates of each segment, with exact scores."""
    candidates: list[tuple[Scores, Locations]] = []
    kept = size
    for number, segment in enumerate(view.state.segments):
        wanted = _wanted(segment.kind, k, size)
        kept = max(kept, wanted)
        allowed = None if view.allowed is None else view.allowed[number]
        of_segment = SegmentSearch(segment, allowed, view.settings, view.fetch)
        scores, at = of_segment.nearest(queries, k, wanted)
        candidates.append((scores, locations_of(number, at)))
    if view.state.delta.size:
        scores, at = _of_delta(view, queries, size)
        candidates.append((scores, locations_of(len(view.state.segments), at)))
    locations = _best(candidates, len(queries), kept)
    step = max(1, SCORED_AT_ONCE // max(1, locations.shape[1]))
    return [
        found
        for start in range(0, len(queries), step)
        for found in _scored(view, queries[start : start + step], locations[start : start + step])
    ]


def _best(candidates: Sequence[tuple[Scores, Locations]], queries: int, kept: int) -> Locations:
    """Return the locations [q, n] of the candidates with the best approximate scores."""
    if not candidates:
        return np.empty((queries, 0), np.int64)
    if len(candidates) == 1 and candidates[0][1].shape[1] <= kept:
        return candidates[0][1]
    scores = np.concatenate([scores for scores, _ in candidates], axis=1)
    return largest(scores, np.concatenate([at for _, at in candidates], axis=1), kept)[1]


def _wanted(kind: IndexKind, k: int, size: int) -> int:
    """Return how many candidates a segment of the kind has to return."""
    # A graph computes the same scores as `exact_scores`, and finds ties by chance anyway.
    return k if kind is IndexKind.HNSW else max(size, k * OVERFETCH.get(kind, 1))


def _of_delta(view: SearchView, queries: Vectors, k: int) -> tuple[Scores, Positions]:
    delta = view.state.delta
    if view.allowed is None:
        return nearest_rows(view.metric, queries, delta.rows[: delta.size], k, delta.live)
    allowed = view.allowed[-1]
    scores, at = nearest_rows(view.metric, queries, delta.rows[allowed], k, None)
    return scores, allowed[at]


def _scored(view: SearchView, queries: Vectors, locations: Locations) -> list[Neighbors]:
    """Return candidates with exact scores, nearest first; of equal scores the lower pk first."""
    pks, scores = _exact(view, queries, locations)
    order = np.lexsort((pks, -scores))
    count = locations.shape[1]
    if len(queries) > 1:
        order += count * np.arange(len(queries))[:, None]
    # Of arrays in one dimension, because `take` is twice as fast as an index for each dimension.
    scores, pks, locations = scores.take(order), pks.take(order), locations.take(order)
    return [_present(*row) for row in zip(scores, pks, locations, strict=True)]


def _present(scores: Scores, pks: NDArray[np.int64], locations: Locations) -> Neighbors:
    """Return the rows of one query without the missing ones, which are the last ones."""
    found = Neighbors(scores, pks, locations)
    if not len(found) or locations[-1] >= 0:
        return found
    return found.take(slice(np.count_nonzero(locations >= 0)))


def _exact(
    view: SearchView, queries: Vectors, locations: Locations
) -> tuple[NDArray[np.int64], Scores]:
    """Return the pks and exact scores [q, n] of candidates; a missing row has minus infinity."""
    if is_single(view.state):
        return _exact_of(view, queries, 0, locations)
    pks, scores = np.zeros(locations.shape, np.int64), np.empty(locations.shape, np.float32)
    scores.fill(-np.inf)
    for number, mine, positions in by_segment(view.state, locations):
        at = np.full(locations.shape, -1, np.int64)
        at[mine] = positions
        pks_of_segment, scores_of_segment = _exact_of(view, queries, number, at)
        np.copyto(pks, pks_of_segment, where=mine)
        np.copyto(scores, scores_of_segment, where=mine)
    return pks, scores


def _exact_of(
    view: SearchView, queries: Vectors, number: int, positions: Positions
) -> tuple[NDArray[np.int64], Scores]:
    """Return the pks and exact scores [q, n] of rows of a segment; -1 has minus infinity."""
    pks = view.state.source(number).pks[positions]
    rows, at = rows_of(view, number, pks, positions)
    return pks, exact_scores(view.metric, queries, rows, at)
