"""The k most similar rows of one matrix for each row of another, in bounded memory.

The search is exact and uses numpy. FAISS takes 25 % less time for thousands of queries, but five
times as long for a hundred, and does not order rows of equal similarity.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity.metrics import check_matrices, similarity_tiles

_INDEX_BITS = 32
_INDEX_MASK = (1 << _INDEX_BITS) - 1
_MAGNITUDE = np.int32(0x7FFFFFFF)


def top_k(
    a: Vectors, b: Vectors, metric: SimilarityName, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the row numbers and similarities of the k most similar rows of ``b`` to each of ``a``.

    ``a`` is float32[n, d] and ``b`` float32[m, d]; both results have the shape [n, min(k, m)], the
    most similar row first. Of rows with equal similarity the lower number comes first. With the
    metric ``dot`` this is maximum inner product search.

    Raises:
        InvalidVector: as `similarity`.
        InvalidInput: ``metric`` is unknown, or ``k`` is below 1.
    """
    check_matrices(a, b, metric)
    if k < 1:
        raise InvalidInput("k", f"is {k}; it must be at least 1")
    kept = min(k, len(b))
    best = np.empty((len(a), kept), np.int64)
    for top, left, scores in similarity_tiles(a, b, metric):
        rows = slice(top, top + len(scores))
        candidates = np.concatenate([best[rows, :left], _keys(scores, left)], axis=1)
        if candidates.shape[1] > kept:
            candidates.partition(kept - 1, axis=1)
        best[rows, : candidates.shape[1]] = candidates[:, :kept]
    best.sort(axis=1)
    return best & _INDEX_MASK, _scores(best)


def _keys(scores: NDArray[np.float32], start: int) -> NDArray[np.int64]:
    """Return sortable integers: a larger score comes first, then a lower row number.

    The keys of one row are distinct, so that an unstable selection has only one possible result.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # adding zero turns -0.0 into 0.0
    # Read as integers, floats keep their order, except that negative floats are reversed.
    descending = ~(bits ^ ((bits >> 31) & _MAGNITUDE))
    columns = np.arange(start, start + scores.shape[1], dtype=np.int64)
    return (descending.astype(np.int64) << _INDEX_BITS) | columns


def _scores(keys: NDArray[np.int64]) -> NDArray[np.float32]:
    ascending = ~(keys >> _INDEX_BITS).astype(np.int32)
    return (ascending ^ ((ascending >> 31) & _MAGNITUDE)).view(np.float32)
