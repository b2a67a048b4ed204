"""Builds one segment from a delta, from the live rows of several segments, or from stored rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric
from embedder.index.segments.faiss_index import VectorSource, build, stored_vectors
from embedder.index.segments.huge_pages import use_huge_pages
from embedder.index.segments.merge_policy import kind_of_segment
from embedder.index.segments.segment import PackedIds, Segment
from embedder.index.segments.segment_index import Delta
from embedder.index.segments.shared_nodes import SharedNodes
from embedder.settings.model import IndexSettings

ReadVectors = Callable[[NDArray[np.int64]], Vectors]
"""Reads normalized vectors float32[n, d], by distinct pks or by row numbers."""


@dataclass(frozen=True, slots=True)
class SegmentBuilder:
    """Builds the segments of one collection."""

    kind: IndexKind
    metric: Metric
    width: int
    settings: IndexSettings
    should_stop: Callable[[], bool]

    def seal(self, delta: Delta) -> Segment:
        """Return a flat segment of the live rows of a delta: a copy, which takes milliseconds."""
        live = np.flatnonzero(delta.live)
        order = live[np.argsort(delta.pks[live])]
        ids, vectors = delta.ids_at(order), delta.rows[order]
        return self.build_flat(delta.pks[order], delta.seqs[order], ids, lambda rows: vectors[rows])

    def build_flat(
        self,
        pks: NDArray[np.int64],
        seqs: NDArray[np.int64],
        ids: Sequence[str],
        read: ReadVectors,
    ) -> Segment:
        """Return a flat segment of rows with ascending pks.

        ``read`` returns rows by number, in ascending order, and may append to ``ids`` meanwhile.
        """
        source = VectorSource(len(pks), self.width, read)
        built = build(IndexKind.FLAT, self.metric, source, self.settings, lambda: False)
        return self._wrap(built, IndexKind.FLAT, pks, seqs, ids)

    def merge(self, sources: Sequence[Segment], fetch: ReadVectors) -> Segment | None:
        """Return one segment of all live rows of the sources, None if there are none.

        The number of rows decides its kind. ``fetch`` reads the vectors of pks from the store, and
        returns zeros for a point that was deleted; quantised segments need it.

        Raises:
            Stopped: ``should_stop`` returned True.
        """
        live = [np.flatnonzero(source.live_mask()) for source in sources]
        if not sum(map(len, live)):
            return None
        pks = _concatenated([source.pks for source in sources], live)
        seqs = _concatenated([source.seqs for source in sources], live)
        order = np.argsort(pks)
        pks, seqs = pks[order], seqs[order]
        source_of = np.repeat(np.arange(len(sources)), [len(rows) for rows in live])[order]
        position = np.concatenate(live)[order]

        def read(rows: NDArray[np.int64]) -> Vectors:
            block = np.empty((len(rows), self.width), np.float32)
            for number, source in enumerate(sources):
                mine = source_of[rows] == number
                if mine.any():
                    vectors = source.vectors(position[rows][mine])
                    block[mine] = fetch(pks[rows][mine]) if vectors is None else vectors
            return block

        kind = kind_of_segment(self.kind, len(pks), self.settings)
        source = VectorSource(len(pks), self.width, read)
        built = build(kind, self.metric, source, self.settings, self.should_stop)
        ids = [name for one, rows in zip(sources, live, strict=True) for name in one.ids.take(rows)]
        return self._wrap(built, kind, pks, seqs, [ids[row] for row in order.tolist()])

    def _wrap(
        self,
        built: tuple[Any, SharedNodes | None],
        kind: IndexKind,
        pks: NDArray[np.int64],
        seqs: NDArray[np.int64],
        ids: Sequence[str],
    ) -> Segment:
        index, nodes = built
        use_huge_pages(index, kind)
        vectors = stored_vectors(index, kind)
        packed = PackedIds.of(ids)
        return Segment(index, kind, self.metric, pks, seqs, packed, vectors, nodes=nodes)


def _concatenated(
    columns: Sequence[NDArray[np.int64]], rows: Sequence[NDArray[np.int64]]
) -> NDArray[np.int64]:
    return np.concatenate([column[chosen] for column, chosen in zip(columns, rows, strict=True)])
