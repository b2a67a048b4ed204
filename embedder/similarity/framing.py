"""Rows as k-means computes on them: unit length for directions, else near the origin and small.

Knows nothing of models or texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import Vectors
from embedder.core.vectors import normalize_rows
from embedder.similarity.metrics import check_rows

BLOCK_ROWS = 256
"""How many rows are copied in double precision at once."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where rows are computed on: as directions, or by their offsets from ``middle`` float64[d].

    Far from the origin single precision has no digits left for distances, nor for squares of what
    is very large or small.
    """

    middle: NDArray[np.float64]
    scale: float
    spherical: bool

    @classmethod
    def of(cls, vectors: Vectors, *, spherical: bool) -> Frame:
        """Return the frame in which no component of float32[n, d] is beyond 1."""
        if spherical:
            return cls(np.zeros(vectors.shape[1]), 1.0, spherical)
        middle = vectors.mean(axis=0, dtype=np.float64)
        # Only the extremes are wanted: the offsets themselves may not fit into memory.
        reach = np.maximum(vectors.max(axis=0) - middle, middle - vectors.min(axis=0))
        return cls(middle, float(reach.max()) or 1.0, spherical=False)

    def inside(self, vectors: Vectors) -> Vectors:
        """Return rows as they are computed on."""
        if self.spherical:
            return normalize_rows(vectors)
        out = np.empty(vectors.shape, np.float32)
        for start in range(0, len(vectors), BLOCK_ROWS):
            offsets = vectors[start : start + BLOCK_ROWS] - self.middle
            out[start : start + BLOCK_ROWS] = offsets / self.scale
        return out

    def outside(self, centroids: NDArray[np.float64]) -> Vectors:
        """Return centroids beside the rows from outside; what has no direction stays zero."""
        if self.spherical:
            return normalize_rows(centroids.astype(np.float32))
        return (centroids * self.scale + self.middle).astype(np.float32)


def check_groupable(vectors: Vectors, name: str, *, spherical: bool) -> None:
    """Refuse rows that cannot be put into groups; ``name`` is what the caller calls them.

    Raises:
        InvalidVector: a row is not finite, or has no direction where one is needed.
        InvalidInput: there are none.
    """
    check_rows(vectors, name)
    if not vectors.size:
        raise InvalidInput(name, "must not be empty")
    for start in range(0, len(vectors) if spherical else 0, BLOCK_ROWS):
        for row in np.flatnonzero(~vectors[start : start + BLOCK_ROWS].any(axis=1)):
            raise InvalidVector(
                f"{name}[{start + row}]", "has no direction: every component is zero"
            )


def check_group_count(k: int, vectors: Vectors) -> None:
    """Refuse a number of groups that there cannot be.

    Raises:
        InvalidInput: ``k`` is below 1 or above the number of rows.
    """
    if not 1 <= k <= len(vectors):
        raise InvalidInput("k", f"is {k}; it must be between 1 and {len(vectors)}, the inputs")
