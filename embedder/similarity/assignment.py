"""What k-means does before and after its iterations.

Before: check the rows and scale them. After: assign them to their nearest centroids, and fill empty
clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.cancellation import stop_if_cancelled
from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import Vectors
from embedder.core.vectors import normalize_rows
from embedder.similarity.metrics import METRICS, check_rows

BLOCK_ROWS = 256
"""Rows that are converted to double precision at once."""

BLOCK_BYTES = 2**24
"""Memory for one block of rows and their distances, in double and in single precision."""

TOLERANCE = 1e-6
"""A row closer to its centroid than this share of the largest component counts as equal to it."""

_HUGE = 2.0**60
"""Components above this are scaled down, so that squared distances stay within single precision."""


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


@dataclass(frozen=True, slots=True)
class Clusters:
    """The clusters of n rows.

    ``labels`` is int32[n], ``centroids`` float32[k, d] and ``sizes`` int64[k]. ``inertia`` is the
    sum of the squared distances between the rows, as they were compared, and their centroids. A
    cluster is empty only if fewer than k rows are distinct.
    """

    labels: NDArray[np.int32]
    inertia: float
    centroids: Vectors
    sizes: NDArray[np.int64]


def assign_clusters(vectors: Vectors, centroids: Vectors, *, spherical: bool) -> Clusters:
    """Return the clusters of the rows around the centroids; the arguments must have been checked.

    The centroid of an empty cluster, or a zero centroid while ``spherical`` is set, moves to a row
    that is far from its own centroid, until every cluster has a row or every row equals a centroid.
    """
    centroids = centroids.copy()
    if spherical:
        centroids[~centroids.any(axis=1)] = normalize_rows(vectors[:1])
    tolerance = TOLERANCE * (1.0 if spherical else _largest(vectors))
    labels, distances = nearest_centroids(vectors, centroids, spherical=spherical)
    sizes = np.bincount(labels, minlength=len(centroids))
    for _ in range(len(centroids)):
        empty = np.flatnonzero(sizes == 0)
        if not len(empty):
            break
        # A row that is alone in its cluster stays, or its cluster would be the next empty one.
        movable = np.flatnonzero((distances > tolerance) & (sizes[labels] > 1))
        farthest = movable[np.argsort(-distances[movable], kind="stable")[: len(empty)]]
        targets = _distinct(vectors, farthest)
        if not len(targets):
            break
        moved = vectors[targets]
        centroids[empty[: len(targets)]] = normalize_rows(moved) if spherical else moved
        labels, distances = nearest_centroids(vectors, centroids, spherical=spherical)
        sizes = np.bincount(labels, minlength=len(centroids))
    return Clusters(labels, float(distances @ distances), centroids, sizes)


def _distinct(vectors: Vectors, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the row numbers without those whose row equals an earlier one."""
    _, first = np.unique(vectors[rows], axis=0, return_index=True)
    return rows[np.sort(first)]


def nearest_centroids(
    vectors: Vectors, centroids: Vectors, *, spherical: bool
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return int32[n] the nearest centroid of every row, and float64[n] the distance to it.

    Of centroids at equal distance the one with the lower number is taken.
    """
    # At unit length the Euclidean distance has the order of the cosine, and still differs between
    # directions whose cosines are equal in single precision.
    largest = 1.0 if spherical else max(_largest(vectors), _largest(centroids))
    scale = np.float32(1 / _HUGE if largest > _HUGE else 1)
    scaled_centroids = normalize_rows(centroids) if spherical else centroids * scale
    labels = np.empty(len(vectors), np.int32)
    distances = np.empty(len(vectors), np.float64)
    rows = max(1, BLOCK_BYTES // (12 * sum(centroids.shape)))
    for start in range(0, len(vectors), rows):
        stop_if_cancelled()
        block = slice(start, start + rows)
        scaled = normalize_rows(vectors[block]) if spherical else vectors[block] * scale
        scores = METRICS["euclidean"](scaled, scaled_centroids)
        labels[block] = scores.argmax(axis=1)
        distances[block] = -scores.max(axis=1)
    return labels, distances / float(scale)


def _largest(vectors: Vectors) -> float:
    return max(float(vectors.max()), -float(vectors.min()))
