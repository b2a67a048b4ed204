"""Pairs of rows whose similarity reaches a threshold, and the near duplicates that they connect.

The similarities take bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity.metrics import check_matrices, similarity_tiles

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


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Groups of two or more rows, sorted by their lowest row number, which represents the group.

    ``groups`` holds one ascending int64 array per group. ``representative_of`` is int64[n]: the
    lowest number in the group of each row, or the row itself outside of groups.
    """

    groups: tuple[NDArray[np.int64], ...]
    representative_of: NDArray[np.int64]

    def kept(self) -> NDArray[np.int64]:
        """Return the numbers of the rows that remain after deduplication."""
        return np.flatnonzero(self.representative_of == np.arange(len(self.representative_of)))


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
    return _collected(pairs_above(vectors, None, threshold, metric), max_pairs)


def pairs_above(
    a: Vectors, b: Vectors | None, threshold: float, metric: SimilarityName
) -> Iterator[Pairs]:
    """Yield the pairs of checked matrices tile by tile; with ``b`` None, pairs within ``a``.

    Raises:
        InvalidInput: ``threshold`` is NaN, which no similarity reaches.
    """
    if np.isnan(threshold):
        raise InvalidInput("threshold", "is not a number")
    within, others = b is None, a if b is None else b
    with np.errstate(over="ignore"):
        least = np.float32(threshold)  # beyond float32 it is infinite, like the scores
    for top, left, scores in similarity_tiles(a, others, metric, within=within):
        reached = scores >= least
        if within and top == left:
            reached = np.triu(reached, 1)
        found = np.nonzero(reached)
        if len(found[0]):
            yield Pairs(found[0] + top, found[1] + left, scores[found])


def _collected(blocks: Iterator[Pairs], max_pairs: int) -> Pairs:
    if max_pairs < 0:
        raise InvalidInput("max_pairs", f"is {max_pairs}; it must not be negative")
    kept = [Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
    count = 0
    for block in blocks:
        count += len(block)
        if count > max_pairs:
            unit = "or more pairs at or above it"
            raise LimitExceeded("threshold", unit, count, max_pairs)
        kept.append(block)
    rows = np.concatenate([block.rows for block in kept])
    columns = np.concatenate([block.columns for block in kept])
    order = np.lexsort((columns, rows))
    scores = np.concatenate([block.scores for block in kept])
    return Pairs(rows[order], columns[order], scores[order])


def near_duplicates(
    vectors: Vectors, threshold: float, metric: SimilarityName = "cosine"
) -> NearDuplicates:
    """Return the groups of rows of float32[n, d] connected by pairs at ``threshold`` or above.

    Distances are negated, so their thresholds are negative. Rounding may leave the cosine of equal
    rows 1e-6 below 1. Memory does not grow with the number of pairs.

    Raises:
        InvalidVector: as `similarity`; errors call the rows ``inputs``.
        InvalidInput: ``metric`` is unknown, or ``threshold`` is NaN.
    """
    check_matrices(vectors, vectors, metric, ("inputs", "inputs"))
    roots = np.arange(len(vectors))
    for pairs in pairs_above(vectors, None, threshold, metric):
        _join(roots, pairs)
    order = np.argsort(roots, kind="stable")
    starts = np.flatnonzero(np.diff(roots[order])) + 1
    groups = tuple(group for group in np.split(order, starts) if len(group) > 1)
    return NearDuplicates(groups, roots)


def _join(roots: NDArray[np.int64], pairs: Pairs) -> None:
    """Give both rows of every pair the same root: the lowest row number of their component."""
    while True:
        left, right = roots[pairs.rows], roots[pairs.columns]
        apart = left != right
        if not apart.any():
            return
        np.minimum.at(roots, np.maximum(left, right)[apart], np.minimum(left, right)[apart])
        while not np.array_equal(above := roots[roots], roots):
            roots[:] = above
