"""Checks and scaling of rows before k-means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import Vectors
from embedder.core.vectors import normalize_rows
from embedder.similarity.metrics import check_rows

BLOCK_ROWS = 256
"""Rows that are converted to double precision at once."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """Scaling of rows to unit length, or their offsets from ``center`` float64[d] over ``scale``.

    Far from the origin single precision loses the digits of distances, and the squares of very
    large or very small numbers leave its range.
    """

    center: NDArray[np.float64]
    scale: float
    spherical: bool

    @classmethod
    def fit(cls, vectors: Vectors, *, spherical: bool) -> Normalization:
        """Return the normalization after which no component of float32[n, d] exceeds 1."""
        if spherical:
            return cls(np.zeros(vectors.shape[1]), 1.0, spherical)
        center = vectors.mean(axis=0, dtype=np.float64)
        # From the extremes alone: the matrix of all offsets might not fit into memory.
        largest = np.maximum(vectors.max(axis=0) - center, center - vectors.min(axis=0)).max()
        return cls(center, float(largest) or 1.0, spherical=False)

    def transform(self, vectors: Vectors) -> Vectors:
        """Return the normalized rows."""
        if self.spherical:
            return normalize_rows(vectors)
        out = np.empty(vectors.shape, np.float32)
        for start in range(0, len(vectors), BLOCK_ROWS):
            offsets = vectors[start : start + BLOCK_ROWS] - self.center
            out[start : start + BLOCK_ROWS] = offsets / self.scale
        return out

    def inverse_transform(self, centroids: NDArray[np.float64]) -> Vectors:
        """Return the centroids in the space of the original rows; spherical ones at unit length."""
        if self.spherical:
            return normalize_rows(centroids.astype(np.float32))
        return (centroids * self.scale + self.center).astype(np.float32)


def check_clusterable(vectors: Vectors, k: int, *, spherical: bool) -> None:
    """Refuse rows that k-means cannot divide into ``k`` clusters; errors call them ``inputs``.

    Raises:
        InvalidVector: a row is not finite, or is zero while ``spherical`` is set.
        InvalidInput: ``vectors`` is empty, or ``k`` is below 1 or above the number of rows.
    """
    check_rows(vectors, "inputs")
    if not vectors.size:
        raise InvalidInput("inputs", "must not be empty")
    for start in range(0, len(vectors) if spherical else 0, BLOCK_ROWS):
        for row in np.flatnonzero(~vectors[start : start + BLOCK_ROWS].any(axis=1)):
            raise InvalidVector(
                f"inputs[{start + row}]", "has no direction: every component is zero"
            )
    if not 1 <= k <= len(vectors):
        raise InvalidInput("k", f"is {k}; it must be between 1 and {len(vectors)}, the inputs")
