"""The prices of similarities and clusters, in multiplications, before they are computed."""

from __future__ import annotations

import math

from embedder.similarity.clustering import ITERATIONS

PAIR = 100
"""Multiplications that one number of an answer is worth: it is written, too."""

ROW = 1000
"""What a row costs beside its products: it is checked and copied."""


def similarity_price(rows: int, columns: int, width: int) -> int:
    """Return the cost of measuring every row against every column."""
    return rows * columns * (width + PAIR) + (rows + columns) * ROW


def cluster_price(rows: int, k: int, width: int) -> int:
    """Return the cost of k-means: drawing the first centroids, and every iteration."""
    trials = 2 + int(math.log(k))
    return rows * k * width * (ITERATIONS + trials + 1) + rows * ROW
