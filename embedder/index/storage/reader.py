"""What the index reads from a database: snapshots of a shard, and its reader.

Terms are explained in `embedder.index.storage.protocol`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import Payload
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.contract.texts import TextStatistics
from embedder.index.lexical.blocks import Postings
from embedder.index.sparse.sparse_index import SparseTotals
from embedder.index.sparse.weight_blocks import WeightPostings
from embedder.index.storage.records import CollectionRow, OutdatedPoint
from embedder.index.storage.row_encoding import EncodedRows


class Snapshot(Protocol):
    """The rows of a store at one moment, whatever is committed meanwhile."""

    @property
    def history(self) -> str:
        """Return a name of the history that the rows have, which a file name may contain.

        Another history may give the same numbers to other rows: that of a copy of the database, or
        of a host that has taken over, which may lack the last writes of the former one.
        """

    def collections(self) -> list[CollectionRow]:
        """Return all collections with a name, those as well that no client can use."""

    def find_collection(self, name: str) -> CollectionRow | None:
        """Return the collection of this name, or None."""

    def deleted_among(self, identities: Sequence[str]) -> list[str]:
        """Return those identities that are recorded as deleted, in the given order."""

    def scan(self, row: CollectionRow) -> Iterator[EncodedRows]:
        """Yield all points of a collection in chunks, by ascending pk.

        Raises:
            StorageDamaged: a row fails its checksum, or points are missing.
        """

    def count_without_text(self, collection: int) -> int:
        """Return how many points have no text."""

    def sparse_points(self, collection: int) -> int:
        """Return how many points have a sparse vector."""

    def outdated(self, source: int, staged: int, after: int) -> list[OutdatedPoint]:
        """Return a page of the points with a text that have no staged copy of the same seq.

        The page begins above the pk ``after`` and ascends. It ends after `PAGE_POINTS` points, or
        with the point whose text exceeds `PAGE_CHARACTERS`; an empty page is the last one.
        """


class Reader(Protocol):
    """Reads committed rows without waiting for writes; safe from several threads."""

    @property
    def location(self) -> str:
        """Return where the rows are, for errors that the operator reads; without credentials."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Yield the rows at one moment; a snapshot that stays open costs the database space."""

    def payloads(
        self, collection: int, pks: Sequence[int], budget: ResponseBudget
    ) -> dict[int, Payload]:
        """Return the stored points among the pks, by pk, within the response budget."""

    def by_ids(self, collection: int, ids: Sequence[str], budget: ResponseBudget) -> list[Payload]:
        """Return the stored points among the ids, in any order, within the response budget."""

    def page(
        self,
        collection: int,
        after: int,
        limit: int,
        condition: Filter | None,
        budget: ResponseBudget,
    ) -> tuple[list[Payload], bool]:
        """Return points with a pk above ``after``, by ascending pk; see `ResponseBudget.page`."""

    def count(self, collection: int, condition: Filter) -> int:
        """Return how many points meet a filter."""

    def matching(
        self, collection: int, condition: Filter, after: int = -1
    ) -> tuple[NDArray[np.int64], int]:
        """Return pk and seq int64[n, 2] of points with a seq above ``after`` that meet a filter.

        The pks ascend. The second value is the collection's sequence number at that moment.
        """

    def pairs(self, collection: int) -> NDArray[np.int64]:
        """Return pk and seq int64[n, 2] of every point of a collection, by ascending pk."""

    def text_statistics(self, collection: int, terms: Sequence[str]) -> TextStatistics | None:
        """Return the statistics of distinct terms; None if the texts are not all indexed."""

    def postings(self, collection: int, terms: Sequence[str]) -> dict[str, Postings]:
        """Return the postings of distinct terms.

        Raises:
            DamagedBlock: a block of postings fails its checksum.
        """

    def sparse_totals(self, collection: int) -> SparseTotals | None:
        """Return the totals of sparse vectors; None if no point of the collection had one."""

    def sparse_postings(self, collection: int, ids: Sequence[int]) -> dict[int, WeightPostings]:
        """Return the postings of distinct vocabulary ids that some point has.

        Raises:
            DamagedBlock: a block of postings fails its checksum.
        """

    def vectors(
        self, collection: int, pks: NDArray[np.int64], width: int
    ) -> tuple[NDArray[np.int64], list[str], Vectors]:
        """Return pk and seq int64[n, 2], ids, and vectors float32[n, width] of the stored pks.

        The order is that of ``pks``.
        """
