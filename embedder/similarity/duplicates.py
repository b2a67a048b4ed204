"""Near duplicates: connected components of the rows whose similarity reaches a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity.metrics import check_matrices
from embedder.similarity.pairs import Pairs, check_threshold, pairs_above

Representative = Literal["first", "central"]
"""Which row represents its group: the lowest number, or the row in the most similar pairs."""


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Groups of two or more rows, sorted by their lowest row number.

    ``groups`` holds one ascending int64 array per group, and ``representatives`` is int64[g].
    ``representative_of`` is int64[n]: the representative of each row, or the row itself outside of
    groups.
    """

    groups: tuple[NDArray[np.int64], ...]
    representatives: NDArray[np.int64]
    representative_of: NDArray[np.int64]

    def kept(self) -> NDArray[np.int64]:
        """Return the numbers of the rows that remain after deduplication."""
        return np.flatnonzero(self.representative_of == np.arange(len(self.representative_of)))


def near_duplicates(
    vectors: Vectors,
    threshold: float,
    metric: SimilarityName = "cosine",
    *,
    representative: Representative = "first",
) -> NearDuplicates:
    """Return the groups of rows of float32[n, d] connected by pairs at ``threshold`` or above.

    Distances are negated, so their thresholds are negative. Rounding may leave the cosine of equal
    rows 1e-6 below 1. Memory does not grow with the number of pairs. ``central`` selects the row in
    the most such pairs, then the one with the largest sum of similarities, then the lowest number.

    Raises:
        InvalidVector: as `similarity`; errors call the rows ``inputs``.
        InvalidInput: ``metric`` or ``representative`` is unknown, or ``threshold`` is NaN.
    """
    check_matrices(vectors, vectors, metric, ("inputs", "inputs"))
    check_threshold(threshold)
    if representative not in get_args(Representative):
        names = ", ".join(get_args(Representative))
        raise InvalidInput("representative", f"is {representative!r}; there are: {names}")
    numbers = np.arange(len(vectors))
    roots, degrees, sums = numbers.copy(), np.zeros_like(numbers), np.zeros(len(numbers))
    for pairs in pairs_above(vectors, None, threshold, metric):
        _join(roots, pairs)
        for ends in (pairs.rows, pairs.columns):
            np.add.at(degrees, ends, 1)
            np.add.at(sums, ends, pairs.scores)
    if representative == "first":
        return _grouped(roots, numbers)
    return _grouped(roots, np.lexsort((numbers, -sums, -degrees)))


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


def _grouped(roots: NDArray[np.int64], preference: NDArray[np.int64]) -> NearDuplicates:
    """Return the groups; the row that comes first in ``preference`` represents its group."""
    labels, first, indices = np.unique(roots[preference], return_index=True, return_inverse=True)
    representative_of = np.empty_like(roots)
    representative_of[preference] = preference[first][indices]
    order = np.argsort(roots, kind="stable")
    starts = np.searchsorted(roots[order], labels)
    groups = [group for group in np.split(order, starts[1:]) if len(group) > 1]
    representatives = np.array([representative_of[group[0]] for group in groups], np.int64)
    return NearDuplicates(tuple(groups), representatives, representative_of)
