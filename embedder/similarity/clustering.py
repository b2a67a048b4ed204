"""K-means clustering of vectors, by direction (spherical) or by Euclidean distance.

FAISS runs the iterations, over all rows and not a sample. Its own first centroids, which it draws
uniformly, would miss clusters that are clearly separated: `kmeans_plus_plus` draws them instead.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.core.cancellation import stop_if_cancelled
from embedder.core.types import Vectors
from embedder.similarity.assignment import (
    Clusters,
    Normalization,
    assign_clusters,
    check_clusterable,
)
from embedder.similarity.metrics import ROW_PRICE

ITERATIONS = 25

UNINTERRUPTED = 5
"""Iterations between two checks for cancellation; a check after every iteration is slower."""


def cluster(
    vectors: Vectors, k: int, *, seed: int = 0, spherical: bool = True, iterations: int = ITERATIONS
) -> Clusters:
    """Divide the rows of float32[n, d] into k clusters; equal seeds give equal clusters.

    ``spherical`` compares directions: rows and centroids are scaled to unit length, and a row
    belongs to the centroid with the largest cosine.

    Raises:
        InvalidVector: a row is not finite, or is zero while ``spherical`` is set.
        InvalidInput: ``vectors`` is empty, or ``k`` is below 1 or above n.
    """
    check_clusterable(vectors, k, spherical=spherical)
    normalization = Normalization.fit(vectors, spherical=spherical)
    rows = normalization.transform(vectors)
    centroids = _train(rows, k, seed, spherical=spherical, iterations=iterations)
    centroids = normalization.inverse_transform(centroids.astype(np.float64))
    return assign_clusters(vectors, centroids, spherical=spherical)


def _train(rows: Vectors, k: int, seed: int, *, spherical: bool, iterations: int) -> Vectors:
    import faiss

    kmeans: Any = faiss.Kmeans(
        rows.shape[1],
        k,
        niter=UNINTERRUPTED,
        seed=seed,
        spherical=spherical,
        min_points_per_centroid=1,  # FAISS writes a warning to stderr below its own minimum
        max_points_per_centroid=math.ceil(len(rows) / k),  # FAISS takes a sample above it
    )
    centroids = kmeans_plus_plus(rows, k, np.random.default_rng(seed))
    for done in range(0, iterations, UNINTERRUPTED):
        stop_if_cancelled()
        kmeans.cp.niter = min(UNINTERRUPTED, iterations - done)
        kmeans.train(rows, init_centroids=centroids)
        centroids = kmeans.centroids
    return centroids


def kmeans_plus_plus(rows: Vectors, k: int, random: np.random.Generator) -> Vectors:
    """Return k rows that are far from each other, drawn as scikit-learn does.

    This is greedy k-means++ (Arthur and Vassilvitskii, 2007). ``rows`` is float32[n, d] with
    components of about 1 at most, and ``k`` is at most n. Equal rows may be drawn more than once.
    """
    trials = 2 + int(math.log(k))
    squares = np.einsum("nd,nd->n", rows, rows)

    def squared_distances(chosen: NDArray[np.intp]) -> NDArray[np.float32]:
        products: NDArray[np.float32] = rows[chosen] @ rows.T
        distances: NDArray[np.float32] = squares - 2 * products + squares[chosen, None]
        return np.maximum(distances, 0)

    chosen = [int(random.integers(len(rows)))]
    closest = squared_distances(np.array(chosen))[0]
    while len(chosen) < k:
        stop_if_cancelled()
        cumulative = np.cumsum(closest, dtype=np.float64)
        drawn = np.searchsorted(cumulative, random.random(trials) * cumulative[-1], side="right")
        candidates = np.minimum(drawn, len(rows) - 1)
        remaining = np.minimum(closest, squared_distances(candidates))
        best = int(remaining.sum(axis=1).argmin())
        chosen.append(int(candidates[best]))
        closest = remaining[best]
    return rows[chosen]


def cluster_price(rows: int, k: int, width: int) -> int:
    """Return the price of `cluster` for admission, in multiplications.

    It is that of the first centroids, and of every iteration.
    """
    trials = 2 + int(math.log(k))
    return rows * k * width * (ITERATIONS + trials + 1) + rows * ROW_PRICE
