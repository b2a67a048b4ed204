"""How near vectors are by the measures that models are made for: one pair, or all of two matrices.

Larger is nearer, whatever the measure: distances are negated, as sentence-transformers does. A
number beyond float32 is infinite, and numpy then warns. Knows nothing of models or texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from embedder.core.cancellation import stop_if_cancelled
from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import SimilarityName, Vectors
from embedder.core.vectors import normalize_rows

BLOCK_BYTES = 64 * 2**20
"""What the measures of one block of rows may take."""

TILE_ROWS = 1024
"""How many rows are copied in double precision at once."""


def similarity(a: Vectors, b: Vectors, metric: SimilarityName = "cosine") -> Vectors:
    """Return float32[n, m] of float32[n, d] and float32[m, d].

    A row of zeros has no direction: its cosine with anything is 0.

    Raises:
        InvalidVector: a matrix is not of two dimensions or holds a component that is not finite,
            or the widths differ.
        InvalidInput: there is no such measure.
    """
    check_matrices(a, b, metric)
    return METRICS[metric](placed(a, metric), placed(b, metric))


def pair_similarity(a: Vectors, b: Vectors, metric: SimilarityName = "cosine") -> float:
    """Return the measure of one pair, float32[d] and float32[d].

    Raises:
        InvalidVector: a vector is not of one dimension or not finite, or the widths differ.
        InvalidInput: there is no such measure.
    """
    return float(similarity(as_row(a, "a"), as_row(b, "b"), metric)[0, 0])


def similarities_to(a: Vectors, b: Vectors, metric: SimilarityName = "cosine") -> Vectors:
    """Return float32[m]: how near the vector float32[d] is to every row of float32[m, d].

    Raises:
        InvalidVector: as `similarity`, but that ``a`` has one dimension.
        InvalidInput: there is no such measure.
    """
    measured: Vectors = similarity(as_row(a, "a"), b, metric)[0]
    return measured


def similarity_blocks(
    a: Vectors, b: Vectors, metric: SimilarityName = "cosine", *, max_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[int, Vectors]]:
    """Give `similarity` in blocks of rows: the number of the first row, and float32[r, m].

    A block takes at most ``max_bytes``, or is a single row. Only one is in memory at a time, so
    the matrix may be larger than that.

    Raises:
        InvalidVector: as `similarity`, at once.
        InvalidInput: there is no such measure.
    """
    check_matrices(a, b, metric)
    return _blocks(a, b, metric, max(1, max_bytes // max(1, 4 * len(b))))


def _blocks(
    a: Vectors, b: Vectors, metric: SimilarityName, rows: int
) -> Iterator[tuple[int, Vectors]]:
    others = placed(b, metric)
    for start in range(0, len(a), rows):
        yield start, METRICS[metric](placed(a[start : start + rows], metric), others)


def check_matrices(
    a: Vectors, b: Vectors, metric: SimilarityName, names: tuple[str, str] = ("a", "b")
) -> None:
    """Refuse what `similarity` cannot compare; ``names`` are what the caller calls the two.

    Raises:
        InvalidVector: as `similarity`.
        InvalidInput: there is no such measure.
    """
    if metric not in METRICS:
        raise InvalidInput("metric", f"is {metric!r}; there are: {', '.join(METRICS)}")
    check_rows(a, names[0])
    check_rows(b, names[1])
    if a.shape[1] != b.shape[1]:
        raise InvalidVector(names[1], f"has {b.shape[1]} components; {names[0]} has {a.shape[1]}")


def check_rows(rows: Vectors, name: str) -> None:
    """Refuse what is no matrix of finite numbers; ``name`` is what the caller calls it.

    Raises:
        InvalidVector: the error names the row.
    """
    if rows.ndim != 2:
        raise InvalidVector(name, f"has {rows.ndim} dimensions; it must have 2")
    for start in range(0, len(rows), TILE_ROWS):
        for row in np.flatnonzero(~np.isfinite(rows[start : start + TILE_ROWS]).all(axis=1)):
            raise InvalidVector(f"{name}[{start + row}]", "has a component that is not finite")


def as_row(vector: Vectors, name: str) -> Vectors:
    """Return float32[1, d] of float32[d]; ``name`` is what the caller calls it.

    Raises:
        InvalidVector: it has not one dimension, or a component that is not finite.
    """
    if vector.ndim != 1:
        raise InvalidVector(name, f"has {vector.ndim} dimensions; it must have 1")
    if not np.isfinite(vector).all():
        raise InvalidVector(name, "has a component that is not finite")
    return vector[None, :]


def placed(rows: Vectors, metric: SimilarityName) -> Vectors:
    """Return rows as `METRICS` takes them: as float32, and of unit length for the cosine."""
    return normalize_rows(rows) if metric == "cosine" else np.asarray(rows, np.float32)


def _dot(a: Vectors, b: Vectors) -> Vectors:
    return a @ b.T


def _squared_euclidean(a: Vectors, b: Vectors) -> Vectors:
    return _negated_squares(a, b, np.positive)


def _euclidean(a: Vectors, b: Vectors) -> Vectors:
    return _negated_squares(a, b, np.sqrt)


def _negated_squares(a: Vectors, b: Vectors, function: np.ufunc) -> Vectors:
    """Return a function of the squared distances, negated."""
    # In double precision: near rows lose every digit when squares are subtracted in single.
    x = a.astype(np.float64)
    lengths = np.einsum("nd,nd->n", x, x)[:, None]
    out = np.empty((len(a), len(b)), np.float32)
    for start in range(0, len(b), TILE_ROWS):
        stop_if_cancelled()
        y = b[start : start + TILE_ROWS].astype(np.float64)
        squares: NDArray[np.float64] = x @ y.T
        squares *= -2
        squares += lengths
        squares += np.einsum("nd,nd->n", y, y)
        np.maximum(squares, 0, out=squares)
        function(squares, out=squares)
        out[:, start : start + TILE_ROWS] = np.negative(squares, out=squares)
    return out


def _manhattan(a: Vectors, b: Vectors) -> Vectors:
    import faiss

    distances: Vectors = faiss.pairwise_distances(a, b, faiss.METRIC_L1)
    return np.negative(distances, out=distances)


METRICS: dict[SimilarityName, Callable[[Vectors, Vectors], Vectors]] = {
    "cosine": _dot,
    "dot": _dot,
    "euclidean": _euclidean,
    "squared_euclidean": _squared_euclidean,
    "manhattan": _manhattan,
}
"""The measures of rows that are `placed`, by the names that settings and model files use."""
