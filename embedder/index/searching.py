"""Finds the nearest points of one state: rough candidates from every part, then exact scores.

Deterministic: a score depends on two vectors alone, and of equal scores the lower pk goes first,
however the points are spread over segments. Knows nothing of payloads, filters' meaning, or
threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

SCORED_AT_ONCE = 8192
"""Candidates that are scored at once: 25 MB of doubles at 384 components."""

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


def rows_at(view: View, pks: NDArray[np.int64], places: Positions) -> Vectors:
    """Return the placed vectors float32[n, d] of points at places."""
    state = view.state
    parts, positions = places >> _PLACE_BITS, places & _PLACE_MASK
    rows = np.empty((len(places), state.delta.rows.shape[1]), np.float32)
    for part, mine in _by_part(state, parts):
        if part == len(state.segments):
            rows[mine] = state.delta.rows[positions[mine]]
            continue
        vectors = state.segments[part].segment.vectors(positions[mine])
        if vectors is None:
            # Several queries may have found the same point.
            distinct, back = np.unique(pks[mine], return_inverse=True)
            vectors = view.fetch(distinct)[back]
        rows[mine] = vectors
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
    if view.state.delta.size:
        found, at = _of_delta(view, queries, size)
        scores, places = _joined(scores, places, found, _placed(len(view.state.segments), at))
    scores, places = best(scores, places, kept)
    step = max(1, SCORED_AT_ONCE // max(1, places.shape[1]))
    return [
        found
        for start in range(0, len(queries), step)
        for found in _scored(view, queries[start : start + step], places[start : start + step])
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


def _scored(view: View, queries: Vectors, places: Positions) -> list[Found]:
    """Return candidates with their exact scores, nearest first, of equals the lower pk first."""
    real = places >= 0
    asked, flat = np.nonzero(real)[0], places[real]
    pks = np.zeros(places.shape, np.int64)
    pks[real] = _pks_at(view.state, flat)
    scores = np.full(places.shape, -np.inf, np.float32)
    scores[real] = exact(view.metric, queries[asked], rows_at(view, pks[real], flat))
    order = np.lexsort((pks, -scores), axis=1)
    counts = np.count_nonzero(real, axis=1).tolist()
    return [
        Found(scores[row], pks[row], places[row]).take(order[row, :count])
        for row, count in enumerate(counts)
    ]


def _pks_at(state: State, places: Positions) -> NDArray[np.int64]:
    parts, positions = places >> _PLACE_BITS, places & _PLACE_MASK
    pks = np.empty(len(places), np.int64)
    for part, mine in _by_part(state, parts):
        inside = part < len(state.segments)
        source = state.segments[part].segment.pks if inside else state.delta.pks
        pks[mine] = source[positions[mine]]
    return pks


def _by_part(
    state: State, parts: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.bool_] | slice]]:
    """Give the parts that are there, and where."""
    if len(state.segments) == 1 and not state.delta.size:
        yield 0, slice(None)
        return
    for part in range(len(state.segments) + 1):
        mine = parts == part
        if mine.any():
            yield part, mine


def _placed(part: int, at: Positions) -> Positions:
    # Minus one stays what it is: it has every bit set.
    return at if part == 0 else at | (part << _PLACE_BITS)


def _joined(
    scores: Scores, places: Positions, more: Scores, more_places: Positions
) -> tuple[Scores, Positions]:
    if not scores.shape[1]:
        return more, more_places
    return np.concatenate([scores, more], 1), np.concatenate([places, more_places], 1)
