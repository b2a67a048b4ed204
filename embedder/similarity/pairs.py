"""The pairs of rows that are at least so near, found without keeping the measures of all.

Knows nothing of models or texts; what is near is what `metrics` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity.metrics import METRICS, check_matrices, placed

BLOCK_ROWS = 1024
"""How many rows of either matrix are measured at once."""

MAX_PAIRS = 1_000_000
"""How many pairs are kept where nobody says otherwise: 20 MB of them."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows by their numbers, in order of ``rows`` and then of ``columns``.

    ``rows`` and ``columns`` are int64[p], ``scores`` float32[p].
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)


def pairs_between(
    a: Vectors,
    b: Vectors,
    threshold: float,
    metric: SimilarityName = "cosine",
    *,
    max_pairs: int = MAX_PAIRS,
) -> Pairs:
    """Return the pairs of a row of ``a`` and one of ``b`` with a measure of ``threshold`` or more.

    ``a`` is float32[n, d] and ``b`` float32[m, d]; of a distance the threshold is negative, as
    the measures are.

    Raises:
        InvalidVector: as `similarity`.
        InvalidInput: there is no such measure, ``threshold`` is not a number, or ``max_pairs`` is
            below 0.
        LimitExceeded: there are more than ``max_pairs``.
    """
    check_matrices(a, b, metric)
    check_threshold(threshold)
    return _collected(near_pairs(a, b, threshold, metric), max_pairs)


def pairs_within(
    vectors: Vectors,
    threshold: float,
    metric: SimilarityName = "cosine",
    *,
    max_pairs: int = MAX_PAIRS,
) -> Pairs:
    """Return the pairs of two different rows with a measure of ``threshold`` or more.

    ``vectors`` is float32[n, d]. A pair comes once, and its row is the lower number.

    Raises:
        EmbedderError: as `pairs_between`; the rows are called ``inputs``.
    """
    check_matrices(vectors, vectors, metric, ("inputs", "inputs"))
    check_threshold(threshold)
    return _collected(near_pairs(vectors, None, threshold, metric), max_pairs)


def check_threshold(threshold: float) -> None:
    """Refuse what no measure can be compared with.

    Raises:
        InvalidInput: it is not a number.
    """
    if np.isnan(threshold):
        raise InvalidInput("threshold", "is not a number")


def near_pairs(
    a: Vectors, b: Vectors | None, threshold: float, metric: SimilarityName
) -> Iterator[Pairs]:
    """Give the pairs block by block, without checking anything; ``b`` of None is ``a`` itself."""
    others = a if b is None else b
    with np.errstate(over="ignore"):
        least = np.float32(threshold)  # beyond single precision it is infinite, as measures are
    for above in range(0, len(a), BLOCK_ROWS):
        rows = placed(a[above : above + BLOCK_ROWS], metric)
        for left in range(above if b is None else 0, len(others), BLOCK_ROWS):
            columns = placed(others[left : left + BLOCK_ROWS], metric)
            measured = METRICS[metric](rows, columns)
            near = measured >= least
            if b is None and above == left:
                near = np.triu(near, 1)
            found = np.nonzero(near)
            if len(found[0]):
                yield Pairs(found[0] + above, found[1] + left, measured[found])


def _collected(blocks: Iterator[Pairs], max_pairs: int) -> Pairs:
    if max_pairs < 0:
        raise InvalidInput("max_pairs", f"is {max_pairs}; it must not be negative")
    kept: list[Pairs] = []
    count = 0
    for block in blocks:
        count += len(block)
        if count > max_pairs:
            unit = "or more pairs at or above it"
            raise LimitExceeded("threshold", unit, count, max_pairs)
        kept.append(block)
    rows = np.concatenate([np.empty(0, np.int64), *(block.rows for block in kept)])
    columns = np.concatenate([np.empty(0, np.int64), *(block.columns for block in kept)])
    scores = np.concatenate([np.empty(0, np.float32), *(block.scores for block in kept)])
    order = np.lexsort((columns, rows))
    return Pairs(rows[order], columns[order], scores[order])
