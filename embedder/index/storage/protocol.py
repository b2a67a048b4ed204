"""What the index needs from a database: a store of one shard, its reader, and its transactions.

A point has a pk, which ascends in its collection in the order of insertion and is never used again
there, and a seq: the sequence number of the write that stored its present content. The writes of a
collection have consecutive sequence numbers, in the order in which the database commits them,
whichever process they come from. ``collection`` is the number of a collection, `CollectionRow.id`.

Every row that is read is checked: each reading method raises `StorageDamaged` if a row is not the
row that was written. Filters are compiled by the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import Spec
from embedder.index.contract.sparse import SparseVector
from embedder.index.lexical.text_index import TextRows
from embedder.index.sparse.sparse_index import SparseRows
from embedder.index.storage.change_log import ChangeLog
from embedder.index.storage.reader import Reader, Snapshot
from embedder.index.storage.records import CollectionRow, OutdatedPoint
from embedder.index.storage.row_encoding import EncodedRows
from embedder.measurements.index import CommitStats

T = TypeVar("T")


class Transaction(Snapshot, Protocol):
    """The rows that one write reads and changes; no other write changes them meanwhile.

    Each method checks before it changes anything.
    """

    @property
    def texts(self) -> TextRows:
        """Return the rows of the index of texts, which each write to points keeps up to date."""

    @property
    def sparse(self) -> SparseRows:
        """Return the rows of sparse vectors, which each write to points keeps up to date."""

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

    def chunk_pks(self, collection: int, documents: Sequence[str]) -> list[int]:
        """Return the pks of the chunks of these documents, in any order."""

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
        sparse: Sequence[SparseVector | None],
        *,
        skip_outdated: bool,
    ) -> None:
        """Store copies of points of ``source`` with other vectors float32[n, width] in ``staged``.

        ``sparse`` has their sparse vectors, None for a point without one.
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
    def commits(self) -> CommitStats:
        """Return the statistics of the commits since the store was opened."""

    @property
    def connections(self) -> Mapping[str, int]:
        """Return the number of connections to a database for reads, by state: busy and idle."""

    @property
    def reader(self) -> Reader:
        """Return the reader of the store."""

    @property
    def log(self) -> ChangeLog | None:
        """Return the log of all writes; None if no other process writes to the store."""

    def collections(self) -> list[CollectionRow]:
        """Return all collections with a name that clients can use."""

    def index_postings(self) -> None:
        """Begin to index stored texts and sparse vectors that have no index yet.

        This is done in steps between other writes.
        """

    def pinned(self) -> AbstractContextManager[Reader]:
        """Yield a reader of one moment, for one thread; see `ChangeLog.pinned`."""

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

    def history(self) -> str:
        """Return the history of the rows now; see `Snapshot.history`.

        Raises:
            StageUnavailable: the database does not answer.
        """

    def leads(self) -> bool:
        """Return whether this process does the work that one process does for a shard.

        It has asked first, and leads until it closes the store or loses its connection, which it
        learns at its next call: the work must do no harm if two processes do it.
        """

    def close(self) -> None:
        """Finish the queued writes and release the store."""
