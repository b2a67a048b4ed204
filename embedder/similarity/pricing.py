"""Prices of similarities and clusters for admission, in multiplications."""

from __future__ import annotations

import math

from embedder.similarity.clustering import ITERATIONS

PAIR = 100
"""Multiplications that take as long as writing one number of the response."""

ROW = 1000
"""Multiplications that take as long as checking and copying one row."""


def similarity_price(rows: int, columns: int, width: int) -> int:
    """Return the price of the similarities of all rows to all columns."""
    return rows * columns * (width + PAIR) + (rows + columns) * ROW


def cluster_price(rows: int, k: int, width: int) -> int:
    """Return the price of k-means: the first centroids, and every iteration."""
    trials = 2 + int(math.log(k))
    return rows * k * width * (ITERATIONS + trials + 1) + rows * ROW
