"""The log of changes of a store that several processes write; the replicas of a shard follow it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.storage.reader import Reader
from embedder.index.storage.records import CollectionRow


@dataclass(frozen=True, slots=True)
class Changes:
    """Points stored and deleted after a sequence number, up to and including ``sequence``.

    ``pairs`` are pk and seq int64[n, 2] of the stored points, by ascending seq; ``ids`` and
    ``vectors`` float32[n, width] belong to them. ``deleted`` are pks int64[m]. ``head`` is the
    number of the last write: the points that writes after ``sequence`` have overwritten are
    missing here. ``history`` is that of the rows; see `Snapshot.history`.
    """

    history: str
    sequence: int
    head: int
    pairs: NDArray[np.int64]
    ids: list[str]
    vectors: Vectors
    deleted: NDArray[np.int64]

    @classmethod
    def of_upsert(
        cls, history: str, sequence: int, pks: NDArray[np.int64], ids: list[str], vectors: Vectors
    ) -> Changes:
        """Return one write that has stored points."""
        pairs = np.stack([pks, np.full(len(pks), sequence)], axis=1)
        return cls(history, sequence, sequence, pairs, ids, vectors, np.empty(0, np.int64))

    def with_deletion(self, sequence: int, pks: Sequence[int]) -> Changes:
        """Return these changes and the deletion of other points by the next write."""
        deleted = np.array(pks, np.int64)
        return replace(self, sequence=sequence, head=sequence, deleted=deleted)

    @classmethod
    def of_deletion(cls, history: str, sequence: int, pks: Sequence[int]) -> Changes:
        """Return one write that has deleted points."""
        none = np.empty((0, 2), np.int64)
        vectors, deleted = none.astype(np.float32), np.array(pks, np.int64)
        return cls(history, sequence, sequence, none, [], vectors, deleted)


class PinnedReader(Reader, Protocol):
    """Reads the rows of one moment, whatever is committed meanwhile; for one thread."""

    def changes(self, collection: int, after: int) -> Changes | None:
        """Return whole writes after a sequence number, with a limited number of points.

        None says that deletions after this number have been forgotten, or that the collection is
        gone: the caller compares the pairs of all points instead.

        Raises:
            StorageDamaged: a vector fails its checksum, or is missing.
        """


class ChangeLog(Protocol):
    """Reads what all processes have committed; safe from several threads.

    Each method, and each one of `PinnedReader`, raises `StageUnavailable` if no host that takes
    writes answers, so that the last write is unknown.
    """

    def heads(self, names: Collection[str] | None) -> tuple[str, list[CollectionRow]]:
        """Return the collections of these names as their last writes left them; None: all.

        The first value is their history; see `Snapshot.history`.

        Raises:
            StorageDamaged: the row of a collection fails its checksum.
        """

    def pinned(self) -> AbstractContextManager[PinnedReader]:
        """Yield a reader of one moment, which is after all writes committed before this call."""
