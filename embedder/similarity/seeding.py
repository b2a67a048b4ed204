"""First centroids that are far from each other, for k-means to begin with.

Knows nothing of models or texts, nor of what comes after.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from embedder.core.cancellation import stop_if_cancelled
from embedder.core.types import Vectors


def spread_rows(rows: Vectors, k: int, random: np.random.Generator) -> Vectors:
    """Return k rows that are far from each other: greedy k-means++, as scikit-learn draws them.

    ``rows`` is float32[n, d] with components of about 1 at most, and ``k`` at most n. Rows that
    repeat may be drawn more than once.
    """
    trials = 2 + int(math.log(k))
    squares = np.einsum("nd,nd->n", rows, rows)

    def squared_distances(chosen: NDArray[np.intp]) -> NDArray[np.float32]:
        products: NDArray[np.float32] = rows[chosen] @ rows.T
        distances: NDArray[np.float32] = squares - 2 * products + squares[chosen, None]
        return np.maximum(distances, 0)

    seeds = [int(random.integers(len(rows)))]
    nearest = squared_distances(np.array(seeds))[0]
    while len(seeds) < k:
        stop_if_cancelled()
        reached = np.cumsum(nearest, dtype=np.float64)
        drawn = np.searchsorted(reached, random.random(trials) * reached[-1], side="right")
        candidates = np.minimum(drawn, len(rows) - 1)
        after = np.minimum(nearest, squared_distances(candidates))
        best = int(after.sum(axis=1).argmin())
        seeds.append(int(candidates[best]))
        nearest = after[best]
    return rows[seeds]
