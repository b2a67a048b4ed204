"""The searchable index of one collection: rows are added and deleted, segments sealed and replaced.

Its state is immutable: sealed segments and a small, growing delta. A search takes one reference and
needs no lock. One writer at a time makes a new state, which shares all unchanged arrays with the
previous one. Nothing is kept that cannot be rebuilt from the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.segments.bitmap import are_set
from embedder.index.segments.scoring import Positions
from embedder.index.segments.segment import Segment
from embedder.index.storage.change_log import Changes
from embedder.index.storage.failpoints import reach

FIRST_CAPACITY = 64
"""Rows that a new delta allocates; it grows by doubling."""


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """Rows that a search compares one by one.

    The arrays and the list ``ids`` are shared between states and hold later rows behind ``size``.
    """

    rows: Vectors
    pks: NDArray[np.int64]
    seqs: NDArray[np.int64]
    ids: list[str]
    size: int
    live: NDArray[np.bool_]

    @classmethod
    def empty(cls, width: int, capacity: int) -> Delta:
        """Return an empty delta that has allocated ``capacity`` rows."""
        return cls(
            np.empty((capacity, width), np.float32),
            np.empty(capacity, np.int64),
            np.empty(capacity, np.int64),
            [],
            0,
            np.empty(0, np.bool_),
        )

    @property
    def count(self) -> int:
        """Return the number of live rows."""
        return int(np.count_nonzero(self.live))

    def ids_at(self, positions: Positions) -> list[str]:
        """Return the ids of rows."""
        return [self.ids[row] for row in positions.tolist()]

    def append(self, changes: Changes) -> Delta:
        """Return the delta with the stored points; only the latest delta may be appended to."""
        if not len(changes.pairs):
            return self
        end = self.size + len(changes.pairs)
        grown = self if end <= len(self.pks) else self._grow(max(end, 2 * len(self.pks)))
        # Older states share these arrays, but read no row behind their own size.
        grown.rows[self.size : end] = changes.vectors
        grown.pks[self.size : end], grown.seqs[self.size : end] = changes.pairs.T
        # A call that failed may have left more ids.
        grown.ids[self.size :] = changes.ids
        live = np.concatenate([self.live, np.ones(len(changes.pairs), np.bool_)])
        return replace(grown, size=end, live=live)

    def delete(self, positions: Positions) -> Delta:
        """Return the delta with the rows at the positions deleted."""
        if not len(positions):
            return self
        live = self.live.copy()
        live[positions] = False
        return replace(self, live=live)

    def _grow(self, capacity: int) -> Delta:
        rows = np.empty((capacity, self.rows.shape[1]), np.float32)
        pks, seqs = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
        for new, old in ((rows, self.rows), (pks, self.pks), (seqs, self.seqs)):
            new[: self.size] = old[: self.size]
        return replace(self, rows=rows, pks=pks, seqs=seqs)


@dataclass(frozen=True, slots=True, eq=False)
class IndexState:
    """All that a search reads; ``sequence`` is the number of the last write it contains."""

    segments: tuple[Segment, ...]
    delta: Delta
    sequence: int

    @property
    def width(self) -> int:
        """Return the number of components of a vector."""
        return int(self.delta.rows.shape[1])

    def source(self, number: int) -> Segment | Delta:
        """Return a segment by its number, or the delta, which follows the last segment."""
        return self.delta if number == len(self.segments) else self.segments[number]

    @property
    def count(self) -> int:
        """Return the number of live points."""
        return sum(one.count for one in self.segments) + self.delta.count

    @property
    def deleted(self) -> int:
        """Return the number of deleted rows that the segments still hold."""
        return sum(one.deleted for one in self.segments)


class SegmentIndex:
    """Holds the current state of one collection; vectors are normalized and ``width`` wide."""

    def __init__(
        self,
        width: int,
        *,
        seal_rows: int,
        seal: Callable[[Delta], Segment],
        segments: Sequence[Segment] = (),
        sequence: int = 0,
    ) -> None:
        self._seal_rows = seal_rows
        self._seal = seal
        self._changed = threading.Condition()
        self._delta_positions: dict[int, int] = {}
        self._state = IndexState(tuple(segments), Delta.empty(width, FIRST_CAPACITY), sequence)

    @property
    def state(self) -> IndexState:
        """Return the current state, which later writes do not change."""
        return self._state

    def apply(self, pages: Sequence[Changes]) -> None:
        """Set and delete rows, known or not, all at once for every reader; or nothing at all."""
        with self._changed:
            state = self._state
            try:
                for page in pages:
                    state = self._with(state, page)
            except BaseException:
                self._delta_positions = _positions_of(self._state.delta)
                raise
            self._set(state)

    def seal(self) -> None:
        """Turn the delta into a segment now, however small it is."""
        with self._changed:
            self._set(self._sealed(self._state))

    def replace_merged(self, sources: Sequence[Segment], merged: Segment | None) -> bool:
        """Replace the source segments of a merge by its result, None if no row of them is live.

        ``sources`` are the segments as the merge read them: a row that was deleted since is deleted
        in the result too. Return False, and change nothing, if a source was replaced meanwhile.
        """
        with self._changed:
            state = self._state
            # A deletion replaces the segment, and keeps its FAISS index.
            current = {id(one.index): one for one in state.segments}
            merged_ids = {id(one.index) for one in sources}
            if not merged_ids <= current.keys():
                return False
            kept = [one for one in state.segments if id(one.index) not in merged_ids]
            if merged is not None:
                now = [current[id(one.index)] for one in sources]
                kept.append(_with_later_deletions(merged, sources, now))
            reach("merge.before_swap")
            self._set(replace(state, segments=tuple(kept)))
            return True

    def replace_saved(self, saved: Segment) -> None:
        """Set the path of a segment that was saved, unless a merge has replaced it meanwhile."""
        with self._changed:
            segments = [
                replace(one, path=saved.path) if one.index is saved.index else one
                for one in self._state.segments
            ]
            self._set(replace(self._state, segments=tuple(segments)))

    def wait(self, sequence: int, timeout_s: float) -> bool:
        """Wait until the state contains the write of this number; return False on timeout."""
        if self._state.sequence >= sequence:
            return True
        with self._changed:
            return self._changed.wait_for(lambda: self._state.sequence >= sequence, timeout_s)

    def _with(self, state: IndexState, page: Changes) -> IndexState:
        state = self._without(state, np.concatenate([page.pairs[:, 0], page.deleted]))
        start = state.delta.size
        delta = state.delta.append(page)
        pks = page.pairs[:, 0].tolist()
        self._delta_positions.update(zip(pks, range(start, delta.size), strict=True))
        state = replace(state, delta=delta, sequence=page.sequence)
        return self._sealed(state) if delta.size >= self._seal_rows else state

    def _without(self, state: IndexState, pks: NDArray[np.int64]) -> IndexState:
        """Return the state with the rows of the pks deleted."""
        known = self._delta_positions
        positions = [known.pop(pk) for pk in pks.tolist() if pk in known]
        delta = state.delta.delete(np.array(positions, np.int64))
        if len(positions) == len(pks):
            return replace(state, delta=delta)
        segments = tuple(live.delete(pks) for live in state.segments)
        return replace(state, segments=segments, delta=delta)

    def _sealed(self, state: IndexState) -> IndexState:
        if not state.delta.size:
            return state
        sealed = (self._seal(state.delta),) if state.delta.count else ()
        reach("seal.before_swap")
        self._delta_positions = {}
        empty = Delta.empty(state.width, FIRST_CAPACITY)
        return replace(state, segments=state.segments + sealed, delta=empty)

    def _set(self, state: IndexState) -> None:
        self._state = state
        self._changed.notify_all()


def _positions_of(delta: Delta) -> dict[int, int]:
    """Return the position of each live pk."""
    positions = np.flatnonzero(delta.live)
    return dict(zip(delta.pks[positions].tolist(), positions.tolist(), strict=True))


def _with_later_deletions(
    merged: Segment, before: Sequence[Segment], now: Sequence[Segment]
) -> Segment:
    """Return the merged segment without the rows that were deleted while it was built."""
    result = merged
    for read, current in zip(before, now, strict=True):
        if current.live is None:
            continue
        copied = np.flatnonzero(read.live_mask())
        deleted = copied[~are_set(current.live, copied)]
        result = result.delete(current.pks[deleted])
    return result
