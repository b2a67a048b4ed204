"""Groups by their centroids: which centroid every row is nearest to, and none left without a row.

Knows nothing of models or texts, nor of how centroids are found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.cancellation import stop_if_cancelled
from embedder.core.errors import InvalidVector
from embedder.core.types import Vectors
from embedder.core.vectors import normalize_rows
from embedder.similarity.framing import check_groupable
from embedder.similarity.metrics import METRICS

BLOCK_BYTES = 2**24
"""What one block of rows and its distances may take, in double precision and single."""

SAME_PLACE = 1e-6
"""A row is at its centroid if it is nearer than this share of the largest component."""

_HUGE = 2.0**60


@dataclass(frozen=True, slots=True)
class Clusters:
    """Which of k groups every row is in, and where the groups are.

    ``labels`` is int32[n], ``centroids`` float32[k, d] and ``sizes`` int64[k]. ``inertia`` is the
    sum of squared distances between rows, as they were compared, and the centroids of their
    groups. A group is empty only where rows repeat and fewer than k are apart.
    """

    labels: NDArray[np.int32]
    inertia: float
    centroids: Vectors
    sizes: NDArray[np.int64]


def assign(vectors: Vectors, centroids: Vectors, *, spherical: bool = True) -> NDArray[np.int32]:
    """Return int32[n]: for every row of float32[n, d] the nearest of float32[k, d].

    With ``spherical`` directions are compared, as the cosine does, else places. Of centroids that
    are equally near the one with the lower number is taken.

    Raises:
        InvalidVector: a row or centroid is not finite, or has no direction where one is needed, or
            the widths differ.
        InvalidInput: there are no rows or no centroids.
    """
    check_groupable(vectors, "inputs", spherical=spherical)
    check_groupable(centroids, "centroids", spherical=spherical)
    if vectors.shape[1] != centroids.shape[1]:
        width = vectors.shape[1]
        raise InvalidVector("centroids", f"has {centroids.shape[1]} components; inputs has {width}")
    return nearest(vectors, centroids, spherical=spherical)[0]


def grouped(vectors: Vectors, centroids: Vectors, *, spherical: bool) -> Clusters:
    """Return the groups around the centroids, after moving those that no row is nearest to.

    Such a centroid, or one without a direction where one is needed, goes to a row that is far from
    its own, until every group has a row or all rows are at centroids. The arguments have been
    checked.
    """
    centroids = centroids.copy()
    if spherical:
        centroids[~centroids.any(axis=1)] = normalize_rows(vectors[:1])
    at_it = SAME_PLACE * (1.0 if spherical else _largest(vectors))
    labels, distances = nearest(vectors, centroids, spherical=spherical)
    sizes = np.bincount(labels, minlength=len(centroids))
    for _ in range(len(centroids)):
        empty = np.flatnonzero(sizes == 0)
        if not len(empty):
            break
        # A row alone with its centroid stays, or its group would be the next without one.
        apart = np.flatnonzero((distances > at_it) & (sizes[labels] > 1))
        far = _different(vectors, apart[np.argsort(-distances[apart], kind="stable")[: len(empty)]])
        if not len(far):
            break
        moved = vectors[far]
        centroids[empty[: len(far)]] = normalize_rows(moved) if spherical else moved
        labels, distances = nearest(vectors, centroids, spherical=spherical)
        sizes = np.bincount(labels, minlength=len(centroids))
    return Clusters(labels, float(distances @ distances), centroids, sizes)


def _different(vectors: Vectors, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return those of the rows that repeat none before them."""
    _, first = np.unique(vectors[rows], axis=0, return_index=True)
    return rows[np.sort(first)]


def nearest(
    vectors: Vectors, centroids: Vectors, *, spherical: bool
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return the number of the nearest centroid for every row, and its distance, unchecked."""
    # Of unit length the nearest is that of the largest cosine, but is told from others that are
    # almost as near; and single precision holds the distances of whatever is not huge.
    largest = 1.0 if spherical else max(_largest(vectors), _largest(centroids))
    scale = np.float32(1 / _HUGE if largest > _HUGE else 1)
    others = normalize_rows(centroids) if spherical else centroids * scale
    labels = np.empty(len(vectors), np.int32)
    distances = np.empty(len(vectors), np.float64)
    rows = max(1, BLOCK_BYTES // (12 * sum(centroids.shape)))
    for start in range(0, len(vectors), rows):
        stop_if_cancelled()
        block = slice(start, start + rows)
        placed = normalize_rows(vectors[block]) if spherical else vectors[block] * scale
        nearness = METRICS["euclidean"](placed, others)
        labels[block] = nearness.argmax(axis=1)
        distances[block] = -nearness.max(axis=1)
    return labels, distances / float(scale)


def _largest(vectors: Vectors) -> float:
    return max(float(vectors.max()), -float(vectors.min()))
