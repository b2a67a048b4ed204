"""Finds the nearest points of one state: rough candidates from every part, then exact scores.

Deterministic: a score depends on two vectors alone, and of equal scores the lower pk goes first,
however the points are spread over segments. Knows nothing of payloads, filters' meaning, or
threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.index.kinds import IndexKind
from embedder.index.measure import Positions, Scores, best, exact, nearest_rows
from embedder.index.points import Metric
from embedder.index.segment import Effort, pack
from embedder.index.state import LiveSegment, State
from embedder.types import Vectors

MARGIN = 8
"""Candidates beyond those wanted: rough scores may swap neighbours, and ties are seen by them."""
OVERFETCH = {IndexKind.IVF_SQ8: 2, IndexKind.IVF_PQ: 10}
"""Candidates of a quantised segment for each one wanted, to be scored exactly."""
MOST_TIES = 4096
"""Candidates that are looked at to put equal scores in order; beyond, some lower pk may miss."""
FEW_ROWS = 2_000
FEW_SHARE = 0.05
"""When a filter leaves no more than this of a segment, each row is compared: a graph loses its way
among forbidden rows (recall 0.69 where a twentieth is allowed), and this is quicker there."""

_PLACE_BITS = 40
_PLACE_MASK = (1 << _PLACE_BITS) - 1

Allowed = Sequence[Positions]
"""For every segment, then for the delta, the positions that may be found; all of them alive."""


@dataclass(frozen=True, slots=True)
class View:
    """A state as one search sees it; ``fetch`` returns placed vectors of pks from the truth."""

    state: State
    metric: Metric
    effort: Effort
    fetch: Callable[[NDArray[np.int64]], Vectors]
    allowed: Allowed | None = None

    @property
    def is_exact(self) -> bool:
        """Say whether what is found is the nearest for certain."""
        return all(live.segment.is_exact for live in self.state.segments)


@dataclass(frozen=True, slots=True)
class Found:
    """What one query found, nearest first; ``places`` tell where in the state a row is."""

    scores: Scores
    pks: NDArray[np.int64]
    places: Positions

    def __len__(self) -> int:
        return len(self.pks)

    def take(self, rows: NDArray[np.int64] | slice | NDArray[np.bool_]) -> Found:
        """Return some of what was found."""
        return Found(self.scores[rows], self.pks[rows], self.places[rows])


def search(view: View, queries: Vectors, k: int) -> list[Found]:
    """Return for every placed query float32[q, d] the ``k`` nearest points, or all there are."""
    answers = _attempt(view, queries, k, k + MARGIN)
    if view.is_exact:
        for row, found in enumerate(answers):
            size = k + MARGIN
            while len(found) >= size and found.scores[k - 1] == found.scores[-1]:
                if size >= MOST_TIES:
                    break
                size *= 4
                (found,) = _attempt(view, queries[row : row + 1], k, size)
            answers[row] = found
    return [found.take(slice(k)) for found in answers]


def rows_at(view: View, found: Found) -> Vectors:
    """Return the placed vectors float32[n, d] of what was found."""
    state = view.state
    rows = np.empty((len(found), state.delta.rows.shape[1]), np.float32)
    parts, positions = found.places >> _PLACE_BITS, found.places & _PLACE_MASK
    for part in np.unique(parts).tolist():
        mine = parts == part
        if part == len(state.segments):
            rows[mine] = state.delta.rows[positions[mine]]
            continue
        vectors = state.segments[part].segment.vectors(positions[mine])
        rows[mine] = view.fetch(found.pks[mine]) if vectors is None else vectors
    return rows


def name_at(state: State, place: int) -> str:
    """Return the id of the point at a place."""
    part, position = place >> _PLACE_BITS, place & _PLACE_MASK
    if part == len(state.segments):
        return state.delta.names[position]
    return state.segments[part].segment.names[position]


def seq_at(state: State, place: int) -> int:
    """Return the sequence number of the version at a place."""
    part, position = place >> _PLACE_BITS, place & _PLACE_MASK
    seqs = state.delta.seqs if part == len(state.segments) else state.segments[part].segment.seqs
    return int(seqs[position])


def _attempt(view: View, queries: Vectors, k: int, size: int) -> list[Found]:
    scores = np.empty((len(queries), 0), np.float32)
    places = np.empty((len(queries), 0), np.int64)
    kept = size
    for part, live in enumerate(view.state.segments):
        asked = max(size, k * OVERFETCH.get(live.segment.kind, 1))
        kept = max(kept, asked)
        found, at = _of_segment(view, part, live, queries, (k, asked))
        scores, places = _joined(scores, places, found, _placed(part, at))
    found, at = _of_delta(view, queries, size)
    scores, places = _joined(scores, places, found, _placed(len(view.state.segments), at))
    scores, places = best(scores, places, kept)
    return [
        _scored(view, query, row[~np.isneginf(row_scores)])
        for query, row, row_scores in zip(queries, places, scores, strict=True)
    ]


def _of_segment(
    view: View, part: int, live: LiveSegment, queries: Vectors, wanted: tuple[int, int]
) -> tuple[Scores, Positions]:
    """Return candidates: ``wanted`` are how many there must be if there are, and how many asked."""
    segment, bits, count = live.segment, live.alive, live.count
    if view.allowed is not None:
        count = len(view.allowed[part])
    if not count:
        return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    k = min(wanted[1], count)
    if view.allowed is not None:
        positions = view.allowed[part]
        if count <= max(FEW_ROWS, FEW_SHARE * len(segment)):
            return segment.search_all(queries, k, positions, view.effort)
        bits = pack(positions, len(segment))
    scores, at = segment.search(queries, k, bits, view.effort)
    found = np.count_nonzero(at >= 0, axis=1)
    short = np.flatnonzero(found < min(wanted[0], count))
    if len(short):
        # A graph or a few lists may hold too little of what is alive: never a short answer.
        whole = view.allowed[part] if view.allowed is not None else np.flatnonzero(live.marks())
        scores[short], at[short] = segment.search_all(queries[short], k, whole, view.effort)
    return scores, at


def _of_delta(view: View, queries: Vectors, k: int) -> tuple[Scores, Positions]:
    delta = view.state.delta
    if view.allowed is None:
        return delta.search(view.metric, queries, k)
    positions = view.allowed[-1]
    scores, at = nearest_rows(view.metric, queries, delta.rows[positions], k, None)
    return scores, positions[at]


def _scored(view: View, query: Vectors, places: Positions) -> Found:
    """Return candidates with their exact scores, nearest first, of equals the lower pk first."""
    state = view.state
    parts, positions = places >> _PLACE_BITS, places & _PLACE_MASK
    pks = np.empty(len(places), np.int64)
    for part in np.unique(parts).tolist():
        mine = parts == part
        inside = part < len(state.segments)
        source = state.segments[part].segment.pks if inside else state.delta.pks
        pks[mine] = source[positions[mine]]
    unscored = Found(np.empty(len(places), np.float32), pks, places)
    scores = exact(view.metric, query, rows_at(view, unscored))
    return Found(scores, pks, places).take(np.lexsort((pks, -scores)))


def _placed(part: int, at: Positions) -> Positions:
    return np.where(at < 0, -1, (part << _PLACE_BITS) | at)


def _joined(
    scores: Scores, places: Positions, more: Scores, more_places: Positions
) -> tuple[Scores, Positions]:
    if not scores.shape[1]:
        return more, more_places
    return np.concatenate([scores, more], 1), np.concatenate([places, more_places], 1)
