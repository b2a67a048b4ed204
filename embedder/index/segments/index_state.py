"""What a collection's projection is at one moment: sealed segments and a small open delta.

Everything here is immutable for those who read it, so a search takes one reference and needs no
lock: a write makes a new state, which shares all that did not change. Knows nothing of threads,
of the truth, or of when segments are sealed and merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.points import Metric
from embedder.index.segments.scoring import Positions, Scores, nearest_rows
from embedder.index.segments.segment import Bits, Segment, are_set, unpack


@dataclass(frozen=True, slots=True, eq=False)
class LiveSegment:
    """A segment and which of its rows are alive: ``alive`` None is all of them."""

    segment: Segment
    alive: Bits | None = None
    dead: int = 0

    @property
    def count(self) -> int:
        """Return how many rows are alive."""
        return len(self.segment) - self.dead

    def marks(self) -> NDArray[np.bool_]:
        """Return one mark a row, set where it is alive."""
        if self.alive is None:
            return np.ones(len(self.segment), np.bool_)
        return unpack(self.alive, len(self.segment))

    def living(self, positions: Positions) -> Positions:
        """Return those of the positions that are alive."""
        return positions if self.alive is None else positions[are_set(self.alive, positions)]

    def bury(self, positions: Positions) -> LiveSegment:
        """Return the segment with the rows dead at distinct positions that are alive."""
        if not len(positions):
            return self
        size = (len(self.segment) + 7) // 8
        bits = np.full(size, 0xFF, np.uint8) if self.alive is None else self.alive.copy()
        # Several positions share a byte, so plain indexing would lose some.
        np.bitwise_and.at(bits, positions >> 3, ~(1 << (positions & 7)).astype(np.uint8))
        return LiveSegment(self.segment, bits, self.dead + len(positions))


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """Rows that are compared one by one; the arrays go on behind ``size``, which nobody reads.

    ``names`` is a list that only grows.
    """

    rows: Vectors
    pks: NDArray[np.int64]
    seqs: NDArray[np.int64]
    names: list[str]
    size: int
    alive: NDArray[np.bool_]

    @classmethod
    def empty(cls, width: int, capacity: int) -> Delta:
        """Return a delta without rows, and room for some."""
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
        """Return how many rows are alive."""
        return int(np.count_nonzero(self.alive))

    def search(self, metric: Metric, queries: Vectors, k: int) -> tuple[Scores, Positions]:
        """Return rough scores and positions, both [q, min(k, size)]; -1 for none."""
        return nearest_rows(metric, queries, self.rows[: self.size], k, self.alive)

    def append(
        self, pks: NDArray[np.int64], sequence: int, names: Sequence[str], vectors: Vectors
    ) -> Delta:
        """Return the delta with more rows; only the latest delta may be appended to."""
        end = self.size + len(pks)
        grown = self if end <= len(self.pks) else self._with_room(max(end, 2 * len(self.pks)))
        # Readers of older states look at rows before their own size only.
        grown.rows[self.size : end] = vectors
        grown.pks[self.size : end] = pks
        grown.seqs[self.size : end] = sequence
        grown.names.extend(names)
        alive = np.concatenate([self.alive, np.ones(len(pks), np.bool_)])
        return replace(grown, size=end, alive=alive)

    def bury(self, positions: Positions) -> Delta:
        """Return the delta with the rows dead at the positions."""
        if not len(positions):
            return self
        alive = self.alive.copy()
        alive[positions] = False
        return replace(self, alive=alive)

    def _with_room(self, capacity: int) -> Delta:
        rows = np.empty((capacity, self.rows.shape[1]), np.float32)
        pks, seqs = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
        for new, old in ((rows, self.rows), (pks, self.pks), (seqs, self.seqs)):
            new[: self.size] = old[: self.size]
        return replace(self, rows=rows, pks=pks, seqs=seqs)


@dataclass(frozen=True, slots=True, eq=False)
class IndexState:
    """All that a search looks at; ``sequence`` is that of the last write it holds."""

    segments: tuple[LiveSegment, ...]
    delta: Delta
    sequence: int

    @property
    def count(self) -> int:
        """Return how many points are alive."""
        return sum(live.count for live in self.segments) + self.delta.count

    @property
    def dead(self) -> int:
        """Return how many dead rows the segments hold."""
        return sum(live.dead for live in self.segments)
