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

from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric
from embedder.index.segments.index_state import IndexState, LiveSegment
from embedder.index.segments.scoring import Positions, Scores, best, exact, nearest_rows
from embedder.index.segments.segment import SearchParams, pack

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
class SearchView:
    """A state as one search sees it; ``fetch`` returns placed vectors of pks from the truth."""

    state: IndexState
    metric: Metric
    effort: SearchParams
    fetch: Callable[[NDArray[np.int64]], Vectors]
    allowed: Allowed | None = None

    @property
    def is_exact(self) -> bool:
        """Say whether what is found is the nearest for certain."""
        return all(live.segment.is_exact for live in self.state.segments)


@dataclass(frozen=True, slots=True)
class Neighbors:
    """What one query found, nearest first; ``places`` tell where in the state a row is."""

    scores: Scores
    pks: NDArray[np.int64]
    places: Positions

    def __len__(self) -> int:
        return len(self.pks)

    def take(self, rows: NDArray[np.int64] | slice | NDArray[np.bool_]) -> Neighbors:
        """Return some of what was found."""
        return Neighbors(self.scores[rows], self.pks[rows], self.places[rows])


def search(view: SearchView, queries: Vectors, k: int) -> list[Neighbors]:
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


def rows_at(view: SearchView, pks: NDArray[np.int64], places: Positions) -> Vectors:
    """Return the placed vectors float32[n, d] of points at places."""
    rows = np.empty((len(places), view.state.delta.rows.shape[1]), np.float32)
    for part, mine, positions in _by_part(view.state, places):
        source, at = _rows_of(view, part, pks[mine], positions)
        rows[mine] = source[at]
    return rows


def names_at(state: IndexState, places: Positions) -> list[str]:
    """Return the ids of the points at places."""
    names = [""] * len(places)
    for part, mine, positions in _by_part(state, places):
        if part < len(state.segments):
            found = state.segments[part].segment.names.take(positions)
        else:
            found = [state.delta.names[row] for row in positions.tolist()]
        if isinstance(mine, slice):
            return found
        for row, name in zip(np.flatnonzero(mine).tolist(), found, strict=True):
            names[row] = name
    return names


def seq_at(state: IndexState, place: int) -> int:
    """Return the sequence number of the version at a place."""
    part, position = place >> _PLACE_BITS, place & _PLACE_MASK
    seqs = state.delta.seqs if part == len(state.segments) else state.segments[part].segment.seqs
    return int(seqs[position])


def _attempt(view: SearchView, queries: Vectors, k: int, size: int) -> list[Neighbors]:
    parts: list[tuple[Scores, Positions]] = []
    kept = size
    for part, live in enumerate(view.state.segments):
        asked = _candidates(live.segment.kind, k, size)
        kept = max(kept, asked)
        found, at = _of_segment(view, part, live, queries, (k, asked))
        parts.append((found, _placed(part, at)))
    if view.state.delta.size:
        found, at = _of_delta(view, queries, size)
        parts.append((found, _placed(len(view.state.segments), at)))
    places = _rough_best(parts, len(queries), kept)
    step = max(1, SCORED_AT_ONCE // max(1, places.shape[1]))
    return [
        found
        for start in range(0, len(queries), step)
        for found in _scored(view, queries[start : start + step], places[start : start + step])
    ]


def _rough_best(parts: Sequence[tuple[Scores, Positions]], queries: int, kept: int) -> Positions:
    """Return the places [q, n] of the candidates of all parts that look nearest."""
    if not parts:
        return np.empty((queries, 0), np.int64)
    if len(parts) == 1 and parts[0][1].shape[1] <= kept:
        return parts[0][1]
    scores = np.concatenate([scores for scores, _ in parts], axis=1)
    return best(scores, np.concatenate([places for _, places in parts], axis=1), kept)[1]


def _candidates(kind: IndexKind, k: int, size: int) -> int:
    """Return how many rows to ask of a segment, where an exact one is asked for ``size``."""
    # A graph measures pair by pair, as exact scores do, and finds equals by chance anyway.
    return k if kind is IndexKind.HNSW else max(size, k * OVERFETCH.get(kind, 1))


def _of_segment(
    view: SearchView, part: int, live: LiveSegment, queries: Vectors, wanted: tuple[int, int]
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
    # FAISS puts what it has found first.
    short = np.flatnonzero(at[:, min(wanted[0], count) - 1] < 0)
    if len(short):
        # A graph or a few lists may hold too little of what is alive: never a short answer.
        whole = view.allowed[part] if view.allowed is not None else np.flatnonzero(live.marks())
        scores[short], at[short] = segment.search_all(queries[short], k, whole, view.effort)
    return scores, at


def _of_delta(view: SearchView, queries: Vectors, k: int) -> tuple[Scores, Positions]:
    delta = view.state.delta
    if view.allowed is None:
        return delta.search(view.metric, queries, k)
    positions = view.allowed[-1]
    scores, at = nearest_rows(view.metric, queries, delta.rows[positions], k, None)
    return scores, positions[at]


def _scored(view: SearchView, queries: Vectors, places: Positions) -> list[Neighbors]:
    """Return candidates with their exact scores, nearest first, of equals the lower pk first."""
    shape = places.shape
    asked = np.arange(len(queries)).repeat(shape[1])
    pks, scores = _measured(view, queries, asked, places.ravel())
    pks, scores = pks.reshape(shape), scores.reshape(shape)
    rows, order = np.arange(len(queries))[:, None], np.lexsort((pks, -scores), axis=1)
    scores, pks, places = scores[rows, order], pks[rows, order], places[rows, order]
    # What is nowhere comes last.
    counts = np.count_nonzero(places >= 0, axis=1).tolist()
    return [
        Neighbors(scores[row, :count], pks[row, :count], places[row, :count])
        for row, count in enumerate(counts)
    ]


def _measured(
    view: SearchView, queries: Vectors, asked: NDArray[np.int64], places: Positions
) -> tuple[NDArray[np.int64], Scores]:
    """Return the pks and exact scores of candidates; of none, minus infinity."""
    if _is_one(view.state):
        return _measured_in(view, 0, queries, asked, places)
    pks, scores = np.zeros(len(places), np.int64), np.full(len(places), -np.inf, np.float32)
    for part, mine, positions in _by_part(view.state, places):
        pks[mine], scores[mine] = _measured_in(view, part, queries, asked[mine], positions)
    return pks, scores


def _measured_in(
    view: SearchView, part: int, queries: Vectors, asked: NDArray[np.int64], positions: Positions
) -> tuple[NDArray[np.int64], Scores]:
    pks = _pks_of(view.state, part)[positions]
    rows, at = _rows_of(view, part, pks, positions)
    return pks, exact(view.metric, queries, asked, rows, at)


def _pks_of(state: IndexState, part: int) -> NDArray[np.int64]:
    return state.delta.pks if part == len(state.segments) else state.segments[part].segment.pks


def _rows_of(
    view: SearchView, part: int, pks: NDArray[np.int64], positions: Positions
) -> tuple[Vectors, Positions]:
    """Return rows of a part, and where those at the positions are among them; -1 stays so."""
    if part == len(view.state.segments):
        return view.state.delta.rows, positions
    segment = view.state.segments[part].segment
    if segment.rows is not None:
        return segment.rows, positions
    at, there = np.full(len(positions), -1, np.int64), positions >= 0
    # Several queries may have found the same point.
    distinct, first, at[there] = np.unique(pks[there], return_index=True, return_inverse=True)
    vectors = segment.vectors(positions[there][first])
    return view.fetch(distinct) if vectors is None else vectors, at


def _is_one(state: IndexState) -> bool:
    """Say whether everything is in one segment, where places are positions."""
    return len(state.segments) == 1 and not state.delta.size


def _by_part(
    state: IndexState, places: Positions
) -> Iterator[tuple[int, NDArray[np.bool_] | slice, Positions]]:
    """Give the parts that places are in, which of them are there, and at which positions.

    What is nowhere, -1, belongs to no part, or to the only one at position -1.
    """
    if _is_one(state):
        yield 0, slice(None), places
        return
    parts, positions = places >> _PLACE_BITS, places & _PLACE_MASK
    for part in range(len(state.segments) + 1):
        mine = parts == part
        if mine.any():
            yield part, mine, positions[mine]


def _placed(part: int, at: Positions) -> Positions:
    # Minus one stays what it is: it has every bit set.
    return at if part == 0 else at | (part << _PLACE_BITS)
