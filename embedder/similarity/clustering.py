"""Rows put into groups of like ones: k-means, of directions or of points.

The iterations are FAISS's, which is imported when the first rows are grouped; the first centroids
are drawn by `seeding`, since FAISS draws them evenly and then misses groups that are plain to see.
Every row counts: no sample is taken. Knows nothing of models or texts.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from embedder.core.cancellation import stop_if_cancelled
from embedder.core.types import Vectors
from embedder.similarity.framing import Frame, check_group_count, check_groupable
from embedder.similarity.groups import Clusters, grouped
from embedder.similarity.seeding import spread_rows

ITERATIONS = 25

UNINTERRUPTED = 5
"""Iterations between two looks at whether the caller is still there; with one they cost more."""


def cluster(
    vectors: Vectors, k: int, *, seed: int = 0, spherical: bool = True, iterations: int = ITERATIONS
) -> Clusters:
    """Put float32[n, d] into k groups; the same seed gives the same groups.

    With ``spherical`` the rows count by their directions: they and the centroids are of unit
    length, and a row goes to the centroid with the largest cosine.

    Raises:
        InvalidVector: a row is not finite, or has no direction where one is needed.
        InvalidInput: there are no rows, or ``k`` is below 1 or above their number.
    """
    check_groupable(vectors, "inputs", spherical=spherical)
    check_group_count(k, vectors)
    frame = Frame.of(vectors, spherical=spherical)
    found = _train(frame.inside(vectors), k, seed, spherical=spherical, iterations=iterations)
    return grouped(vectors, frame.outside(found.astype(np.float64)), spherical=spherical)


def _train(rows: Vectors, k: int, seed: int, *, spherical: bool, iterations: int) -> Vectors:
    import faiss

    kmeans: Any = faiss.Kmeans(
        rows.shape[1],
        k,
        niter=UNINTERRUPTED,
        seed=seed,
        spherical=spherical,
        min_points_per_centroid=1,  # it writes to stderr where there are fewer
        max_points_per_centroid=math.ceil(len(rows) / k),  # it takes a sample where there are more
    )
    centroids = spread_rows(rows, k, np.random.default_rng(seed))
    for done in range(0, iterations, UNINTERRUPTED):
        stop_if_cancelled()
        kmeans.cp.niter = min(UNINTERRUPTED, iterations - done)
        kmeans.train(rows, init_centroids=centroids)
        centroids = kmeans.centroids
    return centroids
