"""A sealed segment: immutable vectors in one FAISS index, searched without a lock.

Rows are sorted by pk, so a pk is found by bisection. A deletion after sealing makes a new segment
that shares all arrays but a bitmap, which is passed to each search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.kinds import QUANTISED, IndexKind
from embedder.index.contract.points import Metric
from embedder.index.segments.bitmap import Bitmap, are_set
from embedder.index.segments.scoring import Positions
from embedder.index.segments.shared_nodes import Nodes, SharedNodes


@dataclass(frozen=True, slots=True)
class PackedIds:
    """The ids of rows, concatenated in UTF-8: a tenth of the memory of as many strings.

    ``bounds`` int64[n + 1] holds the byte offset where each id begins, then the end of the last.
    """

    text: bytes
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, ids: Sequence[str]) -> PackedIds:
        """Pack ids."""
        encoded = [name.encode() for name in ids]
        bounds = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(name) for name in encoded], out=bounds[1:])
        return cls(b"".join(encoded), bounds)

    def take(self, rows: Positions) -> list[str]:
        """Return the ids of several rows."""
        text, bounds = self.text, self.bounds.data
        return [text[bounds[row] : bounds[row + 1]].decode() for row in rows.tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Normalized vectors of ascending ``pks`` in a FAISS index that has no ids of its own.

    ``node_vectors`` is a view of the vectors inside the index, None if it does not keep them
    unchanged. ``path`` is the snapshot of the segment, None before it is saved. ``live`` has the
    rows that are not ``deleted``; None means that no row is deleted. ``nodes`` says which rows
    share a vector of the index; None means that each row has its own.
    """

    index: Any
    kind: IndexKind
    metric: Metric
    pks: NDArray[np.int64]
    seqs: NDArray[np.int64]
    ids: PackedIds
    node_vectors: Vectors | None
    path: Path | None = None
    live: Bitmap | None = None
    deleted: int = 0
    nodes: SharedNodes | None = None

    def __len__(self) -> int:
        return len(self.pks)

    @property
    def count(self) -> int:
        """Return the number of live rows."""
        return len(self) - self.deleted

    def live_mask(self) -> NDArray[np.bool_]:
        """Return bool[n]: whether each row is live."""
        if self.live is None:
            return np.ones(len(self), np.bool_)
        return np.unpackbits(self.live, count=len(self), bitorder="little").view(np.bool_)

    def delete(self, pks: NDArray[np.int64]) -> Segment:
        """Return the segment with the rows of distinct pks deleted, where it has them live."""
        positions = self.find(pks)
        if self.live is not None:
            positions = positions[are_set(self.live, positions)]
        if not len(positions):
            return self
        size = (len(self) + 7) // 8
        bits = np.full(size, 0xFF, np.uint8) if self.live is None else self.live.copy()
        # Several positions share a byte, so plain indexing would lose some of them.
        np.bitwise_and.at(bits, positions >> 3, ~(1 << (positions & 7)).astype(np.uint8))
        return replace(self, live=bits, deleted=self.deleted + len(positions))

    def find(self, pks: NDArray[np.int64]) -> Positions:
        """Return the positions of those pks that the segment holds, in no order."""
        if not len(self.pks):
            return np.empty(0, np.int64)
        at = np.minimum(np.searchsorted(self.pks, pks), len(self.pks) - 1)
        found: Positions = at[self.pks[at] == pks]
        return found

    def ids_at(self, positions: Positions) -> list[str]:
        """Return the ids of rows."""
        return self.ids.take(positions)

    def nodes_at(self, positions: Positions) -> Nodes:
        """Return the node of each row; -1 stays -1."""
        if self.nodes is None:
            return positions
        nodes: Nodes = np.where(positions < 0, -1, self.nodes.of_row[positions])
        return nodes

    def vectors(self, positions: Positions) -> Vectors | None:
        """Return the normalized vectors float32[n, d] at positions, None if it is quantised."""
        if self.kind in QUANTISED:
            return None
        nodes = self.nodes_at(positions)
        if self.node_vectors is not None:
            return self.node_vectors[nodes]
        rows: Vectors = self.index.reconstruct_batch(nodes)
        return rows


def are_among(
    pks: NDArray[np.int64], seqs: NDArray[np.int64], versions: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return bool[n]: whether ``versions``, pairs of pk and seq sorted by pk, has each row."""
    if not len(versions):
        return np.zeros(len(pks), np.bool_)
    at = np.minimum(np.searchsorted(versions[:, 0], pks), len(versions) - 1)
    among: NDArray[np.bool_] = (versions[at, 0] == pks) & (versions[at, 1] == seqs)
    return among
