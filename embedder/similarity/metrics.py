"""Every row of one matrix against every row of another, by the measure that a model was made for.

Larger is nearer, whatever the measure: distances are negated, as sentence-transformers does.
Knows nothing of models or texts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embedder.errors import InvalidInput, InvalidVector
from embedder.output import unit_rows
from embedder.types import SimilarityName, Vectors

BLOCK_BYTES = 64 * 2**20
"""What the differences of all pairs of one block of rows may take."""


def similarity(a: Vectors, b: Vectors, metric: SimilarityName = "cosine") -> Vectors:
    """Return float32[n, m] of float32[n, d] and float32[m, d].

    A row of zeros has no direction: its cosine with anything is 0.

    Raises:
        InvalidVector: a matrix is not of two dimensions or holds a component that is not finite,
            or the widths differ.
        InvalidInput: there is no such measure.
    """
    check_matrices(a, b, metric)
    return METRICS[metric](np.asarray(a, np.float32), np.asarray(b, np.float32))


def check_matrices(a: Vectors, b: Vectors, metric: SimilarityName) -> None:
    """Refuse what `similarity` cannot compare.

    Raises:
        InvalidVector: as `similarity`.
        InvalidInput: there is no such measure.
    """
    if metric not in METRICS:
        raise InvalidInput("metric", f"is {metric!r}; there are: {', '.join(METRICS)}")
    for name, matrix in (("a", a), ("b", b)):
        if matrix.ndim != 2:
            raise InvalidVector(name, f"has {matrix.ndim} dimensions; it must have 2")
        for row in np.flatnonzero(~np.isfinite(matrix).all(axis=1)).tolist():
            raise InvalidVector(f"{name}[{row}]", "has a component that is not finite")
    if a.shape[1] != b.shape[1]:
        raise InvalidVector("b", f"has {b.shape[1]} components; a has {a.shape[1]}")


def _cosine(a: Vectors, b: Vectors) -> Vectors:
    return unit_rows(a) @ unit_rows(b).T


def _dot(a: Vectors, b: Vectors) -> Vectors:
    return a @ b.T


def _euclidean(a: Vectors, b: Vectors) -> Vectors:
    # In double precision: near rows lose every digit when squares are subtracted in single.
    x, y = a.astype(np.float64), b.astype(np.float64)
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1)[None, :] - 2 * (x @ y.T)
    distances: NDArray[np.float64] = -np.sqrt(np.maximum(squares, 0))
    return distances.astype(np.float32)


def _manhattan(a: Vectors, b: Vectors) -> Vectors:
    out = np.empty((len(a), len(b)), np.float32)
    rows = max(1, BLOCK_BYTES // max(1, b.nbytes))
    for start in range(0, len(a), rows):
        block = a[start : start + rows]
        out[start : start + rows] = -np.abs(block[:, None, :] - b[None, :, :]).sum(2)
    return out


METRICS: dict[SimilarityName, Callable[[Vectors, Vectors], Vectors]] = {
    "cosine": _cosine,
    "dot": _dot,
    "euclidean": _euclidean,
    "manhattan": _manhattan,
}
"""The measures by the names that settings and model files use."""
