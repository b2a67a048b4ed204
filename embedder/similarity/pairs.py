"""Pairs of rows whose similarity reaches a threshold, found in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity.metrics import METRICS, check_matrices, prepare_rows

BLOCK_ROWS = 1024
"""Rows of either matrix that are compared at once."""

MAX_PAIRS = 1_000_000
"""Default of ``max_pairs``: 20 MB of pairs."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Row numbers of pairs and their similarity, sorted by ``rows`` and then by ``columns``.

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
    """Return the pairs of a row of ``a`` and a row of ``b`` with similarity >= ``threshold``.

    ``a`` is float32[n, d] and ``b`` float32[m, d]. Distances are negated, so their thresholds are
    negative.

    Raises:
        InvalidVector: as `similarity`.
        InvalidInput: ``metric`` is unknown, ``threshold`` is NaN, or ``max_pairs`` is below 0.
        LimitExceeded: more than ``max_pairs`` pairs reach the threshold.
    """
    check_matrices(a, b, metric)
    check_threshold(threshold)
    return _collected(pairs_above(a, b, threshold, metric), max_pairs)


def pairs_within(
    vectors: Vectors,
    threshold: float,
    metric: SimilarityName = "cosine",
    *,
    max_pairs: int = MAX_PAIRS,
) -> Pairs:
    """Return the pairs of two different rows of float32[n, d] with similarity >= ``threshold``.

    Each pair is listed once, with the lower number in ``rows``.

    Raises:
        EmbedderError: as `pairs_between`; errors call the rows ``inputs``.
    """
    check_matrices(vectors, vectors, metric, ("inputs", "inputs"))
    check_threshold(threshold)
    return _collected(pairs_above(vectors, None, threshold, metric), max_pairs)


def check_threshold(threshold: float) -> None:
    """Refuse NaN, which no similarity reaches.

    Raises:
        InvalidInput: ``threshold`` is NaN.
    """
    if np.isnan(threshold):
        raise InvalidInput("threshold", "is not a number")


def pairs_above(
    a: Vectors, b: Vectors | None, threshold: float, metric: SimilarityName
) -> Iterator[Pairs]:
    """Yield the pairs block by block, unchecked; with ``b`` None, pairs within ``a``."""
    others = a if b is None else b
    with np.errstate(over="ignore"):
        least = np.float32(threshold)  # beyond float32 it is infinite, like the scores
    for top in range(0, len(a), BLOCK_ROWS):
        rows = prepare_rows(a[top : top + BLOCK_ROWS], metric)
        for left in range(top if b is None else 0, len(others), BLOCK_ROWS):
            columns = prepare_rows(others[left : left + BLOCK_ROWS], metric)
            scores = METRICS[metric](rows, columns)
            reached = scores >= least
            if b is None and top == left:
                reached = np.triu(reached, 1)
            found = np.nonzero(reached)
            if len(found[0]):
                yield Pairs(found[0] + top, found[1] + left, scores[found])


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
