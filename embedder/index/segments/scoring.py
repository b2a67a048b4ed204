"""Scores of vectors: approximate ones order candidates, exact ones are returned to the caller.

Every score is larger for nearer. An exact score depends on its two vectors alone, so an answer is
the same before and after a merge. FAISS is imported on first use: the library works without it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.core.vectors import normalize_rows
from embedder.index.contract.points import Metric

BLOCK_ROWS = 4096
"""Rows scored at once: 6 MiB at 384 components, about the cache of a core."""

Scores = NDArray[np.float32]
Positions = NDArray[np.int64]

_ZERO, _ONE = np.float32(0), np.float32(1)


def normalize(
    metric: Metric, vectors: Vectors, norms: NDArray[np.float64] | None = None
) -> Vectors:
    """Return contiguous float32 vectors, scaled to unit length if the metric is the cosine.

    ``norms`` float64[n] are their lengths, if known; none of them is 0.
    """
    scaled = normalize_rows(vectors, norms) if metric is Metric.COSINE else vectors
    return np.ascontiguousarray(scaled, np.float32)


def faiss_metric(metric: Metric) -> int:
    """Return the FAISS constant that compares normalized vectors under the metric."""
    import faiss

    constants: dict[Metric, int] = {
        Metric.COSINE: faiss.METRIC_INNER_PRODUCT,
        Metric.DOT: faiss.METRIC_INNER_PRODUCT,
        Metric.L2: faiss.METRIC_L2,
        Metric.L1: faiss.METRIC_L1,
    }
    return constants[metric]


def from_faiss(metric: Metric, measures: Scores) -> Scores:
    """Return approximate scores from the distances or products that FAISS returns."""
    # FAISS fills missing results with the largest float32, which becomes the lowest score.
    return -measures if metric.is_distance else measures


def approximate_scores(metric: Metric, queries: Vectors, rows: Vectors) -> Scores:
    """Return the approximate scores float32[q, n] of normalized queries and rows."""
    import faiss

    if not metric.is_distance:
        product: Scores = queries @ rows.T
        return product
    distances: Scores = faiss.pairwise_distances(queries, rows, faiss_metric(metric))
    return -distances


def exact_scores(metric: Metric, queries: Vectors, rows: Vectors, positions: Positions) -> Scores:
    """Return float32[q, n]: the scores of each query with the rows at its positions int64[q, n].

    Queries and rows are normalized and contiguous. A score is the cosine, the inner product or the
    negated distance, and minus infinity for position -1.
    """
    import faiss

    if metric is Metric.L1:
        found = positions >= 0
        asked = np.nonzero(found)[0]
        apart = np.abs(rows[positions[found]] - queries[asked], dtype=np.float64)
        scores = np.full(positions.shape, -np.inf, np.float32)
        scores[found] = -apart.sum(axis=1)
        return scores + _ZERO
    scores = np.empty(positions.shape, np.float32)
    by_l2 = metric is Metric.L2
    compute = faiss.fvec_L2sqr_by_idx if by_l2 else faiss.fvec_inner_products_by_idx
    arrays = (scores, queries, rows, np.ascontiguousarray(positions))
    count, width = queries.shape
    compute(*map(faiss.swig_ptr, arrays), width, count, positions.shape[1])
    if by_l2:
        np.sqrt(scores, out=scores)
        # Subtracted from zero, because the distance of a point to itself is then 0.0, and not -0.0.
        np.subtract(_ZERO, scores, out=scores)
    elif metric is Metric.COSINE:
        # Clipped from above only: minus infinity marks a missing row.
        np.minimum(scores, _ONE, out=scores)
    return scores


def nearest_rows(
    metric: Metric, queries: Vectors, rows: Vectors, k: int, live: NDArray[np.bool_] | None
) -> tuple[Scores, Positions]:
    """Return approximate scores and row numbers, both [q, min(k, n)], in no order.

    Rows that are not ``live`` get the number -1; None means that all rows are live.
    """
    kept = min(k, len(rows))
    scores = np.empty((len(queries), 0), np.float32)
    numbers = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = approximate_scores(metric, queries, rows[start : start + BLOCK_ROWS])
        if live is not None:
            block[:, ~live[start : start + BLOCK_ROWS]] = -np.inf
        added = np.broadcast_to(np.arange(start, start + block.shape[1]), block.shape)
        scores, numbers = largest(
            np.concatenate([scores, block], axis=1), np.concatenate([numbers, added], axis=1), kept
        )
    return scores, np.where(np.isneginf(scores), -1, numbers)


def largest(scores: Scores, numbers: Positions, k: int) -> tuple[Scores, Positions]:
    """Return the ``k`` largest scores of every row and their numbers, in no order."""
    if scores.shape[1] <= k:
        return scores, numbers
    order = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(numbers, order, 1)
