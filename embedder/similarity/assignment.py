"""The last step of k-means: assign rows to their nearest centroids, and fill empty clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.cancellation import stop_if_cancelled
from embedder.core.types import Vectors
from embedder.core.vectors import normalize_rows
from embedder.similarity.metrics import METRICS

BLOCK_BYTES = 2**24
"""Memory for one block of rows and their distances, in double and in single precision."""

TOLERANCE = 1e-6
"""A row closer to its centroid than this share of the largest component counts as equal to it."""

_HUGE = 2.0**60
"""Components above this are scaled down, so that squared distances stay within single precision."""


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
