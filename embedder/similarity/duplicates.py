"""Rows that nearly repeat each other, put together, and one of each that stands for the others.

Two rows are in one group if a chain of near pairs leads from one to the other: the groups are the
connected components. Knows nothing of models or texts; what is near is what `metrics` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity.metrics import check_matrices
from embedder.similarity.pairs import Pairs, check_threshold, near_pairs

Representative = Literal["first", "central"]
"""Which row stands for its group: the lowest number, or the one with most others near it."""


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Groups of two rows or more, by their numbers, in order of their lowest.

    ``groups`` holds one int64 array a group, in ascending order; ``representatives`` is int64[g].
    ``standing_for`` is int64[n]: for every row the one that stands for it, itself outside groups.
    """

    groups: tuple[NDArray[np.int64], ...]
    representatives: NDArray[np.int64]
    standing_for: NDArray[np.int64]

    def kept(self) -> NDArray[np.int64]:
        """Return what is left without duplicates: the rows that stand for themselves."""
        return np.flatnonzero(self.standing_for == np.arange(len(self.standing_for)))


def near_duplicates(
    vectors: Vectors,
    threshold: float,
    metric: SimilarityName = "cosine",
    *,
    representative: Representative = "first",
) -> NearDuplicates:
    """Return the groups of rows of float32[n, d] that near pairs hold together.

    A pair is near from a measure of ``threshold`` on, which of a distance is negative. Pairs are
    not kept, so that any number of duplicates fits. Rounding may leave the cosine of equal rows
    below 1 by 1e-6.
    With ``central`` the row with the most near ones stands for its group, of several the one with
    the largest sum of measures to them, then the lowest number.

    Raises:
        InvalidVector: as `similarity`; the rows are called ``inputs``.
        InvalidInput: there is no such measure or representative, or ``threshold`` is not a number.
    """
    check_matrices(vectors, vectors, metric, ("inputs", "inputs"))
    check_threshold(threshold)
    if representative not in get_args(Representative):
        names = ", ".join(get_args(Representative))
        raise InvalidInput("representative", f"is {representative!r}; there are: {names}")
    numbers = np.arange(len(vectors))
    roots, degrees, sums = numbers.copy(), np.zeros_like(numbers), np.zeros(len(numbers))
    for pairs in near_pairs(vectors, None, threshold, metric):
        _join(roots, pairs)
        for ends in (pairs.rows, pairs.columns):
            np.add.at(degrees, ends, 1)
            np.add.at(sums, ends, pairs.scores)
    if representative == "first":
        return _grouped(roots, numbers)
    return _grouped(roots, np.lexsort((numbers, -sums, -degrees)))


def _join(roots: NDArray[np.int64], pairs: Pairs) -> None:
    """Make every row of a pair have one root, the lowest of what it is joined to."""
    while True:
        left, right = roots[pairs.rows], roots[pairs.columns]
        apart = left != right
        if not apart.any():
            return
        np.minimum.at(roots, np.maximum(left, right)[apart], np.minimum(left, right)[apart])
        while not np.array_equal(above := roots[roots], roots):
            roots[:] = above


def _grouped(roots: NDArray[np.int64], preference: NDArray[np.int64]) -> NearDuplicates:
    """Return the groups; of each the row that comes first in ``preference`` stands for it."""
    known, first, places = np.unique(roots[preference], return_index=True, return_inverse=True)
    standing_for = np.empty_like(roots)
    standing_for[preference] = preference[first][places]
    order = np.argsort(roots, kind="stable")
    starts = np.searchsorted(roots[order], known)
    groups = [group for group in np.split(order, starts[1:]) if len(group) > 1]
    representatives = np.array([standing_for[group[0]] for group in groups], np.int64)
    return NearDuplicates(tuple(groups), representatives, standing_for)
