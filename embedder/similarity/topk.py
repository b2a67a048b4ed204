"""The nearest rows of one matrix for every row of another, without the measures of all pairs.

By ``dot`` it is the search for the maximum inner product. Every row is measured, by numpy: FAISS
takes a quarter less for thousands of queries and five times as long for a hundred, and of rows
that measure the same it keeps any. Knows nothing of models or texts; what is near is what
`metrics` says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedder.core.cancellation import stop_if_cancelled
from embedder.core.errors import InvalidInput
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity.metrics import METRICS, check_matrices, placed

BLOCK_ROWS = 1024
"""How many rows of either matrix are measured at once: a million pairs, of about 40 bytes."""

_INDEX_BITS = 32
_INDEX_MASK = (1 << _INDEX_BITS) - 1
_MAGNITUDE = np.int32(0x7FFFFFFF)


def top_k(
    a: Vectors, b: Vectors, metric: SimilarityName, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return rows of ``b`` and their measures for every row of ``a``, nearest first.

    ``a`` is float32[n, d] and ``b`` float32[m, d]; both answers have the shape [n, min(k, m)]. Of
    rows with the same measure the one with the lower number comes first.

    Raises:
        InvalidVector: as `similarity`.
        InvalidInput: there is no such measure, or ``k`` is below 1.
    """
    check_matrices(a, b, metric)
    if k < 1:
        raise InvalidInput("k", f"is {k}; it must be at least 1")
    kept = min(k, len(b))
    keys = np.empty((len(a), kept), np.int64)
    for start in range(0, len(a), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        keys[rows] = _nearest(placed(a[rows], metric), b, metric, kept)
    return keys & _INDEX_MASK, _measures(keys)


def _nearest(a: Vectors, b: Vectors, metric: SimilarityName, kept: int) -> NDArray[np.int64]:
    """Return the keys of the nearest rows of ``b``, in order; those of ``a`` are placed."""
    best = np.empty((len(a), 0), np.int64)
    for start in range(0, len(b), BLOCK_ROWS):
        stop_if_cancelled()
        measured = METRICS[metric](a, placed(b[start : start + BLOCK_ROWS], metric))
        candidates = np.concatenate([best, _keys(measured, start)], axis=1)
        if candidates.shape[1] > kept:
            candidates.partition(kept - 1, axis=1)
        best = candidates[:, :kept].copy()  # a view would keep all candidates in memory
    best.sort(axis=1)
    return best


def _keys(measured: NDArray[np.float32], start: int) -> NDArray[np.int64]:
    """Return integers in whose order a larger measure comes first, then a lower row number.

    No two keys of a row are alike, so that a selection that is not stable has one outcome.
    """
    bits = (measured + np.float32(0)).view(np.int32)  # plus zero: minus zero is no other measure
    # The bits of floats have the order of the floats themselves, but for negative ones.
    descending = ~(bits ^ ((bits >> 31) & _MAGNITUDE))
    columns = np.arange(start, start + measured.shape[1], dtype=np.int64)
    return (descending.astype(np.int64) << _INDEX_BITS) | columns


def _measures(keys: NDArray[np.int64]) -> NDArray[np.float32]:
    ascending = ~(keys >> _INDEX_BITS).astype(np.int32)
    return (ascending ^ ((ascending >> 31) & _MAGNITUDE)).view(np.float32)
