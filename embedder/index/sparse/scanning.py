"""Reads the sparse vectors of a collection beside its points, and counts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from embedder.core.storage_errors import UNNAMED, StorageDamaged
from embedder.index.contract.sparse import SparseVector
from embedder.index.sparse.sparse_index import SparseTotals


class ScannedRows(Protocol):
    """The sparse vectors that a scan reads."""

    def totals(self, collection: int) -> SparseTotals | None:
        """Return the totals of a collection; None if none of its points had a sparse vector."""

    def vectors_between(self, collection: int, after: int, last: int) -> dict[int, SparseVector]:
        """Return the vectors of the points above the pk ``after``, up to ``last``."""


class SparseScan:
    """The sparse vectors of one collection, in a scan of its points by ascending pk.

    ``rows`` of None stands for a store of an earlier version, which has none.
    """

    def __init__(self, rows: ScannedRows | None, location: str, collection: int) -> None:
        self._rows, self._location, self._collection = rows, location, collection
        self._after = self._count = 0

    def of(self, pks: Sequence[int]) -> list[SparseVector | None]:
        """Return the vector of each of the next points, None where a point has none.

        Raises:
            StorageDamaged: a row fails its checksum, or is not that of a point.
        """
        if self._rows is None:
            return [None] * len(pks)
        found = self._rows.vectors_between(self._collection, self._after, pks[-1])
        if not found.keys() <= set(pks):
            raise StorageDamaged(self._location, "sparse vectors have no point", UNNAMED)
        self._after, self._count = pks[-1], self._count + len(found)
        return [found.get(pk) for pk in pks]

    def check_end(self) -> None:
        """Compare the number of vectors with the stored one, after the last point.

        Raises:
            StorageDamaged: another number of vectors is there.
        """
        totals = None if self._rows is None else self._rows.totals(self._collection)
        expected = 0 if totals is None else totals.points
        if self._count != expected:
            problem = f"{self._count} of {expected} sparse vectors are there"
            raise StorageDamaged(self._location, problem, UNNAMED)
