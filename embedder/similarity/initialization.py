"""The first centroids of k-means, drawn by greedy k-means++ (Arthur and Vassilvitskii, 2007)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from embedder.core.cancellation import stop_if_cancelled
from embedder.core.types import Vectors


def kmeans_plus_plus(rows: Vectors, k: int, random: np.random.Generator) -> Vectors:
    """Return k rows that are far from each other, drawn as scikit-learn does.

    ``rows`` is float32[n, d] with components of about 1 at most, and ``k`` is at most n. Equal rows
    may be drawn more than once.
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
