"""Makes one segment of the living rows of several, or of a delta, or of rows of the truth.

Knows nothing of when that is done, nor of what happens to the segments it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric
from embedder.index.segments.faiss_index import VectorSource, build, rows_of
from embedder.index.segments.index_state import Delta, LiveSegment
from embedder.index.segments.merge_policy import kind_of_segment
from embedder.index.segments.segment import PackedIds, Segment
from embedder.settings.model import IndexSettings

Fetch = Callable[[NDArray[np.int64]], Vectors]
"""Returns placed vectors of distinct pks that only the truth has; zeros for one that is gone."""


@dataclass(frozen=True, slots=True)
class SegmentBuilder:
    """Builds the segments of one collection."""

    kind: IndexKind
    metric: Metric
    width: int
    settings: IndexSettings
    should_stop: Callable[[], bool]

    def seal(self, delta: Delta) -> Segment:
        """Return a flat segment of a delta's living rows: a copy, which takes milliseconds."""
        living = np.flatnonzero(delta.alive)
        order = living[np.argsort(delta.pks[living])]
        names = [delta.names[at] for at in order.tolist()]
        return self.flat(delta.pks[order], delta.seqs[order], names, delta.rows[order])

    def flat(
        self,
        pks: NDArray[np.int64],
        seqs: NDArray[np.int64],
        names: Sequence[str],
        vectors: Vectors,
    ) -> Segment:
        """Return a flat segment of placed rows with ascending pks."""
        source = VectorSource(len(pks), self.width, lambda rows: vectors[rows])
        index = build(IndexKind.FLAT, self.metric, source, self.settings, lambda: False)
        return self.wrap(index, IndexKind.FLAT, pks, seqs, PackedIds.of(names))

    def merge(self, sources: Sequence[LiveSegment], fetch: Fetch) -> Segment | None:
        """Return the living rows of all sources, indexed as their number asks; None if none live.

        Raises:
            Stopped: the index is closing.
        """
        living = [np.flatnonzero(live.marks()) for live in sources]
        counts = [len(rows) for rows in living]
        if not sum(counts):
            return None
        pks = _gathered([live.segment.pks for live in sources], living)
        order = np.argsort(pks)
        part = np.repeat(np.arange(len(sources)), counts)[order]
        at = np.concatenate(living)[order]
        seqs = _gathered([live.segment.seqs for live in sources], living)[order]
        pks = pks[order]

        def take(rows: NDArray[np.int64]) -> Vectors:
            taken = np.empty((len(rows), self.width), np.float32)
            for number, live in enumerate(sources):
                mine = part[rows] == number
                if mine.any():
                    vectors = live.segment.vectors(at[rows][mine])
                    taken[mine] = fetch(pks[rows][mine]) if vectors is None else vectors
            return taken

        kind = kind_of_segment(self.kind, len(pks), self.settings)
        source = VectorSource(len(pks), self.width, take)
        index = build(kind, self.metric, source, self.settings, self.should_stop)
        names = [
            name
            for live, rows in zip(sources, living, strict=True)
            for name in live.segment.names.take(rows)
        ]
        in_order = PackedIds.of([names[row] for row in order.tolist()])
        return self.wrap(index, kind, pks, seqs, in_order)

    def wrap(
        self,
        index: object,
        kind: IndexKind,
        pks: NDArray[np.int64],
        seqs: NDArray[np.int64],
        names: PackedIds,
    ) -> Segment:
        """Return a segment around an index that is built."""
        rows = rows_of(index, kind)
        return Segment(index, kind, self.metric, pks, seqs, names, rows)


def _gathered(
    arrays: Sequence[NDArray[np.int64]], rows: Sequence[NDArray[np.int64]]
) -> NDArray[np.int64]:
    return np.concatenate([array[which] for array, which in zip(arrays, rows, strict=True)])
