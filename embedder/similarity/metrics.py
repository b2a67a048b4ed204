"""Similarity of the rows of two matrices, by the metrics that embedding models are trained for.

Larger is more similar: distances are negated, as sentence-transformers does. A result beyond
float32 is infinite, and numpy warns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from embedder.core.cancellation import stop_if_cancelled
from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import SimilarityName, Vectors
from embedder.core.vectors import normalize_rows

BLOCK_BYTES = 64 * 2**20
"""Memory for the similarities of one block of rows."""

BLOCK_ROWS = 1024
"""Rows of either matrix that are compared at once in bounded memory."""

ROW_PRICE = 1000
"""Multiplications that take as long as checking and copying one row."""

NUMBER_PRICE = 100
"""Multiplications that take as long as writing one number of the response."""

TILE_ROWS = 1024
"""Rows that are converted to double precision at once."""


def similarity(a: Vectors, b: Vectors, metric: SimilarityName = "cosine") -> Vectors:
    """Return float32[n, m], the similarity of each row of float32[n, d] to each of float32[m, d].

    The cosine of a row of zeros is 0.

    Raises:
        InvalidVector: a matrix does not have two dimensions, a component is not finite, or the
            widths differ.
        InvalidInput: ``metric`` is unknown.
    """
    check_matrices(a, b, metric)
    return METRICS[metric](prepare_rows(a, metric), prepare_rows(b, metric))


def similarity_price(rows: int, columns: int, width: int) -> int:
    """Return the price of `similarity` for admission, in multiplications."""
    return rows * columns * (width + NUMBER_PRICE) + (rows + columns) * ROW_PRICE


def similarity_blocks(
    a: Vectors, b: Vectors, metric: SimilarityName = "cosine", *, max_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[int, Vectors]]:
    """Yield `similarity` in blocks of rows: the number of the first row, and float32[r, m].

    A block takes at most ``max_bytes``, or is a single row. Only one block is in memory at a time,
    so the whole matrix may be larger than memory.

    Raises:
        InvalidVector: as `similarity`, before the first block.
        InvalidInput: ``metric`` is unknown.
    """
    check_matrices(a, b, metric)
    others, rows = prepare_rows(b, metric), max(1, max_bytes // max(1, 4 * len(b)))
    return (
        (start, METRICS[metric](prepare_rows(a[start : start + rows], metric), others))
        for start in range(0, len(a), rows)
    )


def similarity_tiles(
    a: Vectors, b: Vectors, metric: SimilarityName, *, within: bool = False
) -> Iterator[tuple[int, int, Vectors]]:
    """Yield the similarities of checked matrices in tiles of at most `BLOCK_ROWS` rows and columns.

    Each item is the number of the tile's first row, that of its first column, and float32[r, s].
    ``within`` leaves out the tiles below the diagonal.
    """
    for top in range(0, len(a), BLOCK_ROWS):
        rows = prepare_rows(a[top : top + BLOCK_ROWS], metric)
        for left in range(top if within else 0, len(b), BLOCK_ROWS):
            stop_if_cancelled()
            columns = prepare_rows(b[left : left + BLOCK_ROWS], metric)
            yield top, left, METRICS[metric](rows, columns)


def check_matrices(
    a: Vectors, b: Vectors, metric: SimilarityName, names: tuple[str, str] = ("a", "b")
) -> None:
    """Refuse matrices that `similarity` cannot compare; errors call them by ``names``.

    Raises:
        InvalidVector: as `similarity`.
        InvalidInput: ``metric`` is unknown.
    """
    if metric not in METRICS:
        raise InvalidInput("metric", f"is {metric!r}; there are: {', '.join(METRICS)}")
    check_rows(a, names[0])
    check_rows(b, names[1])
    if a.shape[1] != b.shape[1]:
        raise InvalidVector(names[1], f"has {b.shape[1]} components; {names[0]} has {a.shape[1]}")


def check_rows(rows: Vectors, name: str) -> None:
    """Refuse an array that is not a matrix of finite numbers; errors call it ``name``.

    Raises:
        InvalidVector: ``rows`` does not have two dimensions, or the named row is not finite.
    """
    if rows.ndim != 2:
        raise InvalidVector(name, f"has {rows.ndim} dimensions; it must have 2")
    for start in range(0, len(rows), TILE_ROWS):
        for row in np.flatnonzero(~np.isfinite(rows[start : start + TILE_ROWS]).all(axis=1)):
            raise InvalidVector(f"{name}[{start + row}]", "has a component that is not finite")


def prepare_rows(rows: Vectors, metric: SimilarityName) -> Vectors:
    """Return rows as `METRICS` expects them: float32, and of unit length for the cosine."""
    return normalize_rows(rows) if metric == "cosine" else np.asarray(rows, np.float32)


def _dot(a: Vectors, b: Vectors) -> Vectors:
    return a @ b.T


def _negated_squares(a: Vectors, b: Vectors, *, function: np.ufunc = np.positive) -> Vectors:
    """Return ``function`` of the squared distances, negated."""
    # In double precision: for rows close together the difference of squares has no digits left in
    # single precision.
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
    "euclidean": partial(_negated_squares, function=np.sqrt),
    "squared_euclidean": _negated_squares,
    "manhattan": _manhattan,
}
"""Metrics of rows from `prepare_rows`, by the names that settings and model files use."""
