"""The searchable side of one collection: rows are put and removed, segments sealed and swapped.

One writer at a time changes it, under a lock that readers never take. It can always be rebuilt
from what it was given. Knows nothing of the truth, of files, or of when segments are merged.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.segments.index_state import Delta, IndexState, LiveSegment
from embedder.index.segments.segment import Segment, are_set
from embedder.index.storage.failpoints import reach

FIRST_ROOM = 64
"""Rows that a new delta has room for; it doubles."""

Seal = Callable[[Delta], Segment]


class SegmentIndex:
    """Holds the state of one collection; vectors are placed and ``width`` wide."""

    def __init__(
        self,
        width: int,
        *,
        seal_rows: int,
        seal: Seal,
        segments: Sequence[LiveSegment] = (),
        sequence: int = 0,
    ) -> None:
        self.width = width
        self._seal_rows = seal_rows
        self._seal = seal
        self._changed = threading.Condition()
        self._where: dict[int, int] = {}
        self._state = IndexState(tuple(segments), Delta.empty(width, FIRST_ROOM), sequence)

    @property
    def state(self) -> IndexState:
        """Return what a search may look at for as long as it likes."""
        return self._state

    def put(
        self, pks: NDArray[np.int64], sequence: int, names: Sequence[str], vectors: Vectors
    ) -> None:
        """Set rows under distinct pks, new or known, at once for every reader."""
        with self._changed:
            buried = self._buried(pks)
            start = buried.delta.size
            delta = buried.delta.append(pks, sequence, names, vectors)
            self._where.update(zip(pks.tolist(), range(start, delta.size), strict=True))
            self._set(replace(buried, delta=delta, sequence=sequence))
            if delta.size >= self._seal_rows:
                self._seal_delta()

    def remove(self, pks: NDArray[np.int64], sequence: int) -> None:
        """Remove the rows of pks that are known, at once for every reader."""
        with self._changed:
            self._set(replace(self._buried(pks), sequence=sequence))

    def seal(self) -> None:
        """Turn the delta into a segment now, however small it is."""
        with self._changed:
            self._seal_delta()

    def swap(self, sources: Sequence[LiveSegment], merged: Segment | None) -> bool:
        """Put a segment in the place of those it was made of; None if nothing of them is alive.

        ``sources`` are as they were when their living rows were copied: what has died since is
        dead in the new one too. Returns False, and changes nothing, if one of them is gone.
        """
        with self._changed:
            state = self._state
            current = {id(live.segment): live for live in state.segments}
            if any(id(live.segment) not in current for live in sources):
                return False
            gone = {id(live.segment) for live in sources}
            kept = [live for live in state.segments if id(live.segment) not in gone]
            if merged is not None:
                now = [current[id(live.segment)] for live in sources]
                kept.append(_without_the_dead(merged, sources, now))
            reach("merge.before_swap")
            self._set(replace(state, segments=tuple(kept)))
            return True

    def exchange(self, old: Segment, new: Segment) -> bool:
        """Put an equal segment in the place of another; False if that one is gone."""
        with self._changed:
            segments = [
                LiveSegment(new, live.alive, live.dead) if live.segment is old else live
                for live in self._state.segments
            ]
            found = any(live.segment is new for live in segments)
            self._set(replace(self._state, segments=tuple(segments)))
            return found

    def wait(self, sequence: int, timeout_s: float) -> bool:
        """Wait until the state holds the write of this number; False if it took too long."""
        if self._state.sequence >= sequence:
            return True
        with self._changed:
            return self._changed.wait_for(lambda: self._state.sequence >= sequence, timeout_s)

    def _buried(self, pks: NDArray[np.int64]) -> IndexState:
        """Return the state with the rows of the pks dead."""
        places = [self._where.pop(pk) for pk in pks.tolist() if pk in self._where]
        delta = self._state.delta.bury(np.array(places, np.int64))
        if len(places) == len(pks):
            return replace(self._state, delta=delta)
        segments = tuple(
            live.bury(live.living(live.segment.find(pks))) for live in self._state.segments
        )
        return replace(self._state, segments=segments, delta=delta)

    def _seal_delta(self) -> None:
        state = self._state
        if not state.delta.size:
            return
        sealed = (LiveSegment(self._seal(state.delta)),) if state.delta.count else ()
        reach("seal.before_swap")
        self._where = {}
        empty = Delta.empty(self.width, FIRST_ROOM)
        self._set(replace(state, segments=state.segments + sealed, delta=empty))

    def _set(self, state: IndexState) -> None:
        self._state = state
        self._changed.notify_all()


def _without_the_dead(
    merged: Segment, then: Sequence[LiveSegment], now: Sequence[LiveSegment]
) -> LiveSegment:
    """Return the merged segment with those rows dead that died while it was made."""
    live = LiveSegment(merged)
    for before, after in zip(then, now, strict=True):
        if after.alive is None:
            continue
        copied = np.flatnonzero(before.marks())
        died = copied[~are_set(after.alive, copied)]
        live = live.bury(live.living(merged.find(after.segment.pks[died])))
    return live
