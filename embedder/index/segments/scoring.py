"""How near vectors are: placed for their metric, compared roughly by FAISS and exactly by numpy.

Every score is larger for nearer. Rough ones order candidates and are comparable with each other;
exact ones are a function of two vectors alone, whatever else was computed beside them, so an
answer is the same before and after any merge. Knows nothing of indexes. FAISS is imported when it
is first needed, so the library works without it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.core.vectors import normalize_rows
from embedder.index.contract.points import Metric

BLOCK_ROWS = 4096
"""Rows that are measured at once: 6 MiB at 384 components, about the cache of a core."""

Scores = NDArray[np.float32]
Positions = NDArray[np.int64]

_ZERO = np.float32(0)


def normalize(
    metric: Metric, vectors: Vectors, norms: NDArray[np.float64] | None = None
) -> Vectors:
    """Return vectors as they are searched: of unit length for the cosine, else as they are.

    ``norms`` are their lengths, where these are known and none is 0.
    """
    placed = normalize_rows(vectors, norms) if metric is Metric.COSINE else vectors
    return np.ascontiguousarray(placed, np.float32)


def faiss_metric(metric: Metric) -> int:
    """Return what FAISS calls the metric of placed vectors."""
    import faiss

    measures: dict[Metric, int] = {
        Metric.COSINE: faiss.METRIC_INNER_PRODUCT,
        Metric.DOT: faiss.METRIC_INNER_PRODUCT,
        Metric.L2: faiss.METRIC_L2,
        Metric.L1: faiss.METRIC_L1,
    }
    return measures[metric]


def rough_of(metric: Metric, found: Scores) -> Scores:
    """Return FAISS's measures as rough scores; where nothing was found, below every other."""
    # Of what was not found FAISS says the largest float32, which is no score of any pair.
    return -found if metric.is_distance else found


def rough(metric: Metric, queries: Vectors, rows: Vectors) -> Scores:
    """Return the rough scores float32[q, n] of placed queries and rows."""
    import faiss

    if not metric.is_distance:
        product: Scores = queries @ rows.T
        return product
    distances: Scores = faiss.pairwise_distances(queries, rows, faiss_metric(metric))
    return -distances


def exact(
    metric: Metric, queries: Vectors, asked: Positions, rows: Vectors, positions: Positions
) -> Scores:
    """Return the scores float32[n] of rows at positions, each for the query of a number beside it.

    Queries and rows are placed. The cosine, the inner product, or the negated distance; minus
    infinity for a position of -1. FAISS measures pair by pair, on the rows where they are.
    """
    import faiss

    if metric is Metric.L1:
        there = positions >= 0
        apart = np.abs(rows[positions[there]] - queries[asked[there]], dtype=np.float64)
        scores = np.full(len(positions), -np.inf, np.float32)
        scores[there] = -apart.sum(axis=1)
        return scores + _ZERO
    scores = np.empty(len(positions), np.float32)
    measure = (
        faiss.pairwise_indexed_L2sqr
        if metric is Metric.L2
        else faiss.pairwise_indexed_inner_product
    )
    arrays = (queries, asked, rows, positions, scores)
    measure(queries.shape[1], len(positions), *(faiss.swig_ptr(array) for array in arrays))
    if metric is Metric.L2:
        np.sqrt(scores, out=scores)
        np.negative(scores, out=scores)
    elif metric is Metric.COSINE:
        # From above alone: below is what was not found.
        np.minimum(scores, 1.0, out=scores)
    # Plus zero: minus zero, the distance of a point to itself, is shown as zero.
    scores += _ZERO
    return scores


def nearest_rows(
    metric: Metric, queries: Vectors, rows: Vectors, k: int, alive: NDArray[np.bool_] | None
) -> tuple[Scores, Positions]:
    """Return rough scores and row numbers, both [q, min(k, n)], in no order; dead ones are -1."""
    kept = min(k, len(rows))
    scores = np.empty((len(queries), 0), np.float32)
    numbers = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rough(metric, queries, rows[start : start + BLOCK_ROWS])
        if alive is not None:
            block[:, ~alive[start : start + BLOCK_ROWS]] = -np.inf
        found = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
        scores, numbers = best(
            np.concatenate([scores, block], axis=1), np.concatenate([numbers, found], axis=1), kept
        )
    return scores, np.where(np.isneginf(scores), -1, numbers)


def best(scores: Scores, numbers: Positions, k: int) -> tuple[Scores, Positions]:
    """Return the ``k`` largest scores of every row and the numbers beside them, in no order."""
    if scores.shape[1] <= k:
        return scores, numbers
    order = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(numbers, order, 1)
