"""Identical vectors of a segment share one node, which is one entry of the FAISS index.

The neighbour lists of a graph would otherwise hold nothing but copies where a vector is stored more
often than a list is long, and searches could neither enter such a region nor leave it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.segments.bitmap import Bitmap, are_set
from embedder.index.segments.scoring import Positions, Scores

Nodes = NDArray[np.int64]
"""Numbers of entries of a FAISS index; -1 is a missing one."""

SAMPLE = 16_384
"""Rows among which `has_copies` looks for identical ones: 40 ms at 384 components."""


class NodeNumbering:
    """Numbers the distinct vectors of rows that arrive block by block.

    It keeps a digest of each, 200 MB for a million, until it is dropped.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def add(self, block: Vectors) -> tuple[Nodes, Vectors]:
        """Return the node of each row, and the rows of the new nodes in the order of their numbers.

        Rows are identical if all their bytes are.
        """
        known, before = self._known, len(self._known)
        # 2 microseconds a row of 384 components; inserting it into a graph takes 400.
        digests = (hashlib.sha256(row).digest() for row in block)
        nodes = np.fromiter(
            (known.setdefault(digest, len(known)) for digest in digests), np.int64, len(block)
        )
        if len(known) - before == len(block):
            return nodes, block
        distinct, first = np.unique(nodes, return_index=True)
        return nodes, block[first[distinct >= before]]


@dataclass(frozen=True, slots=True, eq=False)
class SharedNodes:
    """The node of each row of a segment, and the rows of each node.

    ``of_row`` int64[n]. ``rows`` int64[n] holds the rows of node 0, then those of node 1, and so
    on, each in ascending order; ``starts`` int64[nodes + 1] says where those of each node begin.
    """

    of_row: Nodes
    rows: Positions
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, of_row: Nodes) -> SharedNodes | None:
        """Return the nodes of rows, None if each row has its own."""
        sizes = np.bincount(of_row)
        if len(sizes) == len(of_row):
            return None
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        return cls(of_row, np.argsort(of_row, kind="stable"), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def expand(
        self, scores: Scores, nodes: Nodes, limit: int, allowed: Bitmap | None
    ) -> tuple[Scores, Positions]:
        """Return the first ``limit`` allowed rows of each query's nodes, [q, limit], then -1.

        ``scores`` and ``nodes`` are [q, k], nearest first. Of the rows of a node the lower one, and
        so the lower pk, comes first.
        """
        starts = self.starts[nodes]
        # Without copies among them, the usual case, each node is one row. A missing node, -1, has
        # the difference of the first start and the last one, which is not positive.
        alone = self.starts[nodes + 1] - starts == 1
        if allowed is None and nodes.shape[1] == limit and alone.all():
            return scores, self.rows[starts]
        distinct, which = np.unique(nodes, return_inverse=True)
        begins = self.starts[distinct]
        sizes = np.where(distinct < 0, 0, self.starts[distinct + 1] - begins)
        rows = self.rows[_runs(begins, sizes)]
        if allowed is not None:
            kept = are_set(allowed, rows)
            owners = np.repeat(np.arange(len(distinct)), sizes)[kept]
            rows, sizes = rows[kept], np.bincount(owners, minlength=len(distinct))
        counts = sizes[which].reshape(nodes.shape)
        places = np.cumsum(counts, axis=1) - counts
        counts = np.clip(limit - places, 0, counts)
        taken = counts.ravel()
        begins = (np.cumsum(sizes) - sizes)[which].ravel()
        source = np.repeat(np.arange(nodes.size), taken)
        at = source // nodes.shape[1], _runs(places.ravel(), taken)
        found = np.full((len(nodes), limit), -1, np.int64)
        found_scores = np.full((len(nodes), limit), -np.inf, np.float32)
        found[at] = rows[_runs(begins, taken)]
        found_scores[at] = scores.ravel()[source]
        return found_scores, found


def has_copies(vectors: Vectors) -> bool:
    """Return whether two of a sample of the rows are identical.

    A vector is found if it has a thousandth of the rows of a million; a few copies do no harm.
    """
    chance = np.random.default_rng(0)
    rows = chance.choice(len(vectors), min(SAMPLE, len(vectors)), replace=False)
    _, distinct = NodeNumbering().add(vectors[rows])
    return len(distinct) < len(rows)


def _runs(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return start, start + 1, … of each run, one run after the other."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    runs: NDArray[np.int64] = np.arange(total) + np.repeat(starts - (ends - sizes), sizes)
    return runs
