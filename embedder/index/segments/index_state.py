"""The immutable state of a collection's index: sealed segments and a small, growing delta.

A search takes one reference and needs no lock. A write makes a new state that shares all unchanged
arrays with the previous one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.points import Metric
from embedder.index.segments.scoring import Positions, Scores, nearest_rows
from embedder.index.segments.segment import Segment


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

    def search(self, metric: Metric, queries: Vectors, k: int) -> tuple[Scores, Positions]:
        """Return approximate scores and positions, both [q, min(k, size)]; -1 for none."""
        return nearest_rows(metric, queries, self.rows[: self.size], k, self.live)

    def ids_at(self, positions: Positions) -> list[str]:
        """Return the ids of rows."""
        return [self.ids[row] for row in positions.tolist()]

    def append(
        self, pks: NDArray[np.int64], sequence: int, ids: Sequence[str], vectors: Vectors
    ) -> Delta:
        """Return the delta with more rows; only the latest delta may be appended to."""
        end = self.size + len(pks)
        grown = self if end <= len(self.pks) else self._grow(max(end, 2 * len(self.pks)))
        # Older states share these arrays, but read no row behind their own size.
        grown.rows[self.size : end] = vectors
        grown.pks[self.size : end] = pks
        grown.seqs[self.size : end] = sequence
        grown.ids.extend(ids)
        live = np.concatenate([self.live, np.ones(len(pks), np.bool_)])
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
