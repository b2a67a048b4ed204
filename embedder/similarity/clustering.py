"""Rows put into groups of like ones: k-means, of directions or of points.

The iterations are FAISS's, which is imported when the first rows are grouped; the first centroids
are drawn here, by k-means++, since FAISS draws them evenly and then misses groups that are plain to
see. Every row counts: no sample is taken. Knows nothing of models or texts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.errors import InvalidInput, InvalidVector
from embedder.output import unit_rows
from embedder.types import Vectors


@dataclass(frozen=True, slots=True)
class Clusters:
    """Which of k groups every row is in, and where the groups are.

    ``labels`` is int32[n], ``centroids`` float32[k, d] and ``sizes`` int64[k]. ``inertia`` is the
    sum of squared distances between rows, as they were compared, and the centroids of their
    groups. Where rows repeat, a group may be empty.
    """

    labels: NDArray[np.int32]
    inertia: float
    centroids: Vectors
    sizes: NDArray[np.int64]


def cluster(
    vectors: Vectors, k: int, *, seed: int = 0, spherical: bool = True, iterations: int = 25
) -> Clusters:
    """Put float32[n, d] into k groups; the same seed gives the same groups.

    With ``spherical`` the rows count by their directions: they and the centroids are of unit
    length, and a row goes to the centroid with the largest cosine.

    Raises:
        InvalidVector: a row is not finite, or has no direction where one is needed.
        InvalidInput: there are no rows, or ``k`` is below 1 or above their number.
    """
    _check(vectors, k, spherical=spherical)
    if spherical:
        return _cluster(unit_rows(vectors), k, seed, spherical=True, iterations=iterations)
    # FAISS subtracts squares in single precision: far from the origin they would have no digits.
    middle = vectors.mean(axis=0, dtype=np.float64)
    offsets = vectors - middle
    scale = float(np.abs(offsets).max()) or 1.0
    found = _cluster(
        (offsets / scale).astype(np.float32), k, seed, spherical=False, iterations=iterations
    )
    centroids = (found.centroids.astype(np.float64) * scale + middle).astype(np.float32)
    return Clusters(found.labels, found.inertia * scale**2, centroids, found.sizes)


def _check(vectors: Vectors, k: int, *, spherical: bool) -> None:
    if vectors.ndim != 2:
        raise InvalidVector("inputs", f"has {vectors.ndim} dimensions; it must have 2")
    if not vectors.size:
        raise InvalidInput("inputs", "must not be empty")
    if not 1 <= k <= len(vectors):
        raise InvalidInput("k", f"is {k}; it must be between 1 and {len(vectors)}, the inputs")
    for row in np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist():
        raise InvalidVector(f"inputs[{row}]", "has a component that is not finite")
    if spherical:
        for row in np.flatnonzero(~vectors.any(axis=1)).tolist():
            raise InvalidVector(f"inputs[{row}]", "has no direction: every component is zero")


def _cluster(rows: Vectors, k: int, seed: int, *, spherical: bool, iterations: int) -> Clusters:
    import faiss

    kmeans: Any = faiss.Kmeans(
        rows.shape[1],
        k,
        niter=iterations,
        seed=seed,
        spherical=spherical,
        min_points_per_centroid=1,  # it writes to stderr where there are fewer
        max_points_per_centroid=math.ceil(len(rows) / k),  # it takes a sample where there are more
    )
    kmeans.train(rows, init_centroids=_seeds(rows, k, np.random.default_rng(seed)))
    _, found = kmeans.assign(rows)
    labels = found.astype(np.int32)
    apart = rows - kmeans.centroids[labels]
    inertia = float(np.einsum("nd,nd->", apart, apart, dtype=np.float64))
    return Clusters(labels, inertia, kmeans.centroids, np.bincount(labels, minlength=k))


def _seeds(rows: Vectors, k: int, random: np.random.Generator) -> Vectors:
    """Return k rows that are far from each other: greedy k-means++, as scikit-learn draws them."""
    trials = 2 + int(math.log(k))
    squares = np.einsum("nd,nd->n", rows, rows)

    def squared_distances(chosen: NDArray[np.intp]) -> NDArray[np.float32]:
        products: NDArray[np.float32] = rows[chosen] @ rows.T
        distances: NDArray[np.float32] = squares - 2 * products + squares[chosen, None]
        return np.maximum(distances, 0)

    seeds = [int(random.integers(len(rows)))]
    nearest = squared_distances(np.array(seeds))[0]
    while len(seeds) < k:
        reached = np.cumsum(nearest, dtype=np.float64)
        drawn = np.searchsorted(reached, random.random(trials) * reached[-1], side="right")
        candidates = np.minimum(drawn, len(rows) - 1)
        after = np.minimum(nearest, squared_distances(candidates))
        best = int(after.sum(axis=1).argmin())
        seeds.append(int(candidates[best]))
        nearest = after[best]
    return rows[seeds]
