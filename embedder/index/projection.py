"""Vectors as FAISS searches them: numbers in, the nearest numbers out.

A projection can always be rebuilt from what it was given. The caller has checked shapes and
values and holds a lock: FAISS crashes when an index changes while it is searched. FAISS is
imported when the first projection is made, so the library works without it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.index.points import Metric
from embedder.output import unit_rows
from embedder.types import Vectors


class ExactProjection:
    """Exact search over every vector."""

    kind = "flat"

    def __init__(self, metric: Metric, width: int) -> None:
        import faiss

        measures = {
            Metric.COSINE: faiss.METRIC_INNER_PRODUCT,
            Metric.DOT: faiss.METRIC_INNER_PRODUCT,
            Metric.L2: faiss.METRIC_L2,
            Metric.L1: faiss.METRIC_L1,
        }
        self.width = width
        self._metric = metric
        self._index: Any = faiss.IndexIDMap2(faiss.IndexFlat(width, measures[metric]))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def put(self, numbers: NDArray[np.int64], vectors: Vectors) -> None:
        """Set the vectors of distinct numbers, new or known."""
        # FAISS would keep the old vector too and find the number twice.
        self._index.remove_ids(numbers)
        self._index.add_with_ids(self._placed(vectors), numbers)

    def search(self, queries: Vectors, top_k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return scores and numbers, both [q, min(top_k, len(self))], nearest first.

        A score is the inner product or cosine, or the negated distance.
        """
        found, numbers = self._index.search(self._placed(queries), min(top_k, len(self)))
        return self._scores(found), numbers

    def _placed(self, vectors: Vectors) -> Vectors:
        placed = unit_rows(vectors) if self._metric is Metric.COSINE else vectors
        return np.ascontiguousarray(placed, np.float32)

    def _scores(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._metric is Metric.COSINE:
            return np.clip(found, -1.0, 1.0)
        if self._metric is Metric.L2:
            # FAISS answers squared distances, and rounding may leave a negative one.
            return -np.sqrt(np.maximum(found, 0.0))
        return -found if self._metric is Metric.L1 else found
