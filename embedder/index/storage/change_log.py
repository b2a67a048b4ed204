"""The log of changes of a store that several processes write; the replicas of a shard follow it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.storage.records import CollectionRow


@dataclass(frozen=True, slots=True)
class Changes:
    """Points stored and deleted after a sequence number, up to and including ``sequence``.

    ``pairs`` are pk and seq int64[n, 2] of the stored points, by ascending seq; ``ids`` and
    ``vectors`` float32[n, width] belong to them. ``deleted`` are pks int64[m]. ``head`` is the
    number of the last write: until a replica has applied it, the replica lacks the points that
    later writes have overwritten.
    """

    sequence: int
    head: int
    pairs: NDArray[np.int64]
    ids: list[str]
    vectors: Vectors
    deleted: NDArray[np.int64]


class ChangeLog(Protocol):
    """Reads what all processes have committed; safe from several threads."""

    def heads(self, names: Collection[str] | None) -> list[CollectionRow]:
        """Return the collections of these names as their last writes left them; None: all.

        Raises:
            StageUnavailable: no host that takes writes answers, so that the last write is unknown.
            StorageDamaged: the row of a collection fails its checksum.
        """

    def changes(self, collection: int, after: int) -> Changes | None:
        """Return whole writes after a sequence number, with a limited number of points.

        None says that deletions after this number have been forgotten, or that the collection is
        gone: the caller compares the pairs of all points instead.

        Raises:
            StageUnavailable: the database does not answer.
            StorageDamaged: a vector fails its checksum, or is missing.
        """
