"""Scores points by the dot product of their sparse vectors with that of a query.

The score of a point is the sum over the ids of the query of the weight in the query times the
weight of the point. Points without an id of the query have no score. Unlike BM25 it depends on no
other point, so shards need no statistics of each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from embedder.index.contract.sparse import SparseVector
from embedder.index.sparse.weight_blocks import WeightPostings


def scores(
    query: SparseVector, postings: Mapping[int, WeightPostings]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the pks int64[n] of the points with an id of the query, ascending, and their scores.

    ``postings`` are those of ids of the query. Products are added in float64 in the order of the
    ids, so that a point has the same score to the last bit in any number of shards.
    """
    pairs = zip(query.ids.tolist(), query.weights.tolist(), strict=True)
    found = [(weight, *postings[one]) for one, weight in sorted(pairs) if one in postings]
    if not any(len(pks) for _, pks, _ in found):
        return np.empty(0, np.int64), np.empty(0)
    pks = np.unique(np.concatenate([some for _, some, _ in found]))
    total = np.zeros(len(pks))
    for weight, some, weights in found:
        # A point is once in the postings of an id, so that no addition is lost.
        total[np.searchsorted(pks, some)] += weight * weights.astype(np.float64)
    return pks, total
