"""What the index needs from a database: a store of one shard, its reader, and its transactions.

A point has a pk, which ascends in its collection in the order of insertion and is never used again
there, and a seq: the sequence number of the write that stored its present content. The writes of a
collection have consecutive sequence numbers, in the order in which the database commits them,
whichever process they come from. ``collection`` is the number of a collection, `CollectionRow.id`.

Every row that is read is checked: each reading method raises `StorageDamaged` if a row is not the
row that was written. Filters are compiled by the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import Payload, Spec
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.storage.change_log import ChangeLog
from embedder.index.storage.records import CollectionRow, OutdatedPoint
from embedder.index.storage.row_encoding import EncodedRows

T = TypeVar("T")


class Snapshot(Protocol):
    """The rows of a store at one moment, whatever is committed meanwhile."""

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

    def outdated(self, source: int, staged: int, after: int) -> list[OutdatedPoint]:
        """Return a page of the points with a text that have no staged copy of the same seq.

        The page begins above the pk ``after`` and ascends. It ends after `PAGE_POINTS` points, or
        with the point whose text exceeds `PAGE_CHARACTERS`; an empty page is the last one.
        """


class Transaction(Snapshot, Protocol):
    """The rows that one write reads and changes; no other write changes them meanwhile.

    Each method checks before it changes anything.
    """

    def insert_collection(self, name: str | None, spec: Spec) -> CollectionRow:
        """Insert an empty collection under a free name; None hides it from all readers.

        Raises:
            StaleCollection: the collection of this identity was deleted.
        """

    def update_collection(self, row: CollectionRow) -> CollectionRow:
        """Store all fields of the collection with this number, and return ``row``."""

    def delete_collection(self, row: CollectionRow) -> None:
        """Remove the name of a collection, and record its identity as deleted.

        Its points stay until `Store.reclaim` deletes them; `MAX_DELETED` identities are kept.
        """

    def find_pks(self, collection: int, ids: Sequence[str]) -> list[int]:
        """Return the pks of the stored points among distinct ids, in ascending order."""

    def matching_pks(self, collection: int, condition: Filter) -> list[int]:
        """Return the pks of all points that meet a filter, in ascending order."""

    def upsert(
        self, row: CollectionRow, rows: EncodedRows
    ) -> tuple[NDArray[np.int64], CollectionRow]:
        """Store points as one write; return their pks int64[n] and the updated collection.

        Raises:
            InvalidVector: the collection has another width.
        """

    def delete(self, row: CollectionRow, pks: Sequence[int]) -> CollectionRow:
        """Delete stored points as one write, and return the updated collection.

        Without pks nothing is written.
        """

    def fill_staged(
        self,
        source: CollectionRow,
        staged: CollectionRow,
        points: Sequence[OutdatedPoint],
        vectors: Vectors,
        *,
        skip_outdated: bool,
    ) -> None:
        """Store copies of points of ``source`` with other vectors float32[n, width] in ``staged``.

        A copy has the present text and metadata of its point, and the given seq. A point that was
        deleted or lost its text is skipped; with ``skip_outdated``, so is one with another seq.
        """

    def copies(self, source: int, staged: int, pks: Sequence[int]) -> list[int]:
        """Return the pks of the staged copies of these points of ``source``."""

    def copies_without_text(self, source: int, staged: int) -> list[int]:
        """Return the pks of the staged copies of the points of ``source`` that have no text."""


Effect = Callable[[], T]
"""Makes a committed write visible to searches; its result acknowledges the write."""

Write = Callable[[Transaction], Effect[T]]
"""Reads and changes rows, and returns the effect.

A store may undo a write and call it again, for example alone after a failed group of writes, or
because another process has inserted the same name. A second call must do no harm.
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

    def vectors(
        self, collection: int, pks: NDArray[np.int64], width: int
    ) -> tuple[NDArray[np.int64], list[str], Vectors]:
        """Return pk and seq int64[n, 2], ids, and vectors float32[n, width] of the stored pks.

        The order is that of ``pks``.
        """


class Store(Protocol):
    """The open store of one shard; safe from several threads.

    Opening it may raise any error of `embedder.core.storage_errors` that concerns stored data.
    """

    @property
    def uuid(self) -> str:
        """Return the identity of the stored data, which its snapshots record."""

    @property
    def was_clean(self) -> bool:
        """Return whether the store was closed before it was opened."""

    @property
    def refusal(self) -> Exception | None:
        """Return why writes are refused until a restart, or None."""

    @property
    def reader(self) -> Reader:
        """Return the reader of the store."""

    @property
    def log(self) -> ChangeLog | None:
        """Return the log of all writes; None if no other process writes to the store."""

    def collections(self) -> list[CollectionRow]:
        """Return all collections with a name that clients can use."""

    def submit(self, write: Write[T], *, frees: bool = False) -> Future[T]:
        """Queue a write; the future gets the result of its effect, or the error of the write.

        A write is durable before its effect runs. Effects run one at a time, in the order of the
        commits. A write that raises an error leaves nothing, and fails alone. A write that is
        cancelled before it starts is dropped. ``frees`` marks a write that stores nothing new: it
        may use space that is reserved for a full disk.

        Raises:
            StorageReadOnly: an earlier write failed, so that later ones cannot be trusted.
            StorageDamaged: an earlier write found the stored data damaged.
            Unavailable: the store is closed.
        """

    def run_exclusively(self, read: Callable[[], T]) -> T:
        """Run ``read`` between two writes, when the effects of all committed ones have run."""

    def reclaim(self, spared: Collection[int]) -> None:
        """Start to release the space of deleted points and collections, in steps between writes.

        Collections without a name are deleted, except the numbers that ``spared`` has at each step.
        """

    def leads(self) -> bool:
        """Return whether this process does the work that one process does for a shard.

        It has asked first, and leads until it closes the store or loses its connection, which it
        learns at its next call: the work must do no harm if two processes do it.
        """

    def close(self) -> None:
        """Finish the queued writes and release the store."""
