"""The methods of an index shard that only operators call: backups, exports and re-embedding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from deployments.index.backups import ShardBackups
from deployments.index.executors import IndexExecutors
from embedder.core.types import Vectors
from embedder.index.contract.points import CollectionInfo, Spec
from embedder.index.reembedding import StagedCollection
from embedder.index.storage.staging import PAGE_POINTS, OutdatedPoint
from embedder.index.vector_index import VectorIndex


class OperatorMethods:
    """Backups, exports, and the staged collections of re-embedding."""

    def __init__(
        self, index: VectorIndex, executors: IndexExecutors, backups: ShardBackups
    ) -> None:
        self._reembedding = index.reembedding
        self._executors = executors
        self._backups = backups

    async def back_up(self, name: str, folder: Path) -> int:
        """Copy this shard of a collection to a folder of its node; return the number of points."""
        return await self._executors.copy(self._backups.back_up, name, folder)

    async def finish_backup(self, folder: Path) -> None:
        """Record that every shard has completed its part of a backup."""
        await self._executors.copy(self._backups.finish_backup, folder)

    async def restore(
        self, folder: Path, name: str, identity: str, replacing: bool = False
    ) -> CollectionInfo:
        """Create this shard of a collection from a folder of its node."""
        restore = partial(self._backups.restore, folder, name, identity, replacing=replacing)
        return await self._executors.copy(restore)

    async def export(self, name: str, file: Path) -> int:
        """Write this shard of a collection to Parquet on its node; return the number of points."""
        return await self._executors.copy(self._backups.export, name, file)

    async def count_without_text(self, name: str) -> int:
        """Return the number of points without a text."""
        return await self._executors.copy(self._reembedding.count_without_text, name)

    async def staged(self, name: str) -> StagedCollection | None:
        """Return the identity and model of a collection's staged replacement, or None."""
        return await self._executors.read(1, self._reembedding.staged, name)

    async def begin_staged(self, name: str, source: str, spec: Spec) -> StagedCollection:
        """Return the staged replacement of a collection; create it if it is missing."""
        return await self._executors.write(1, self._reembedding.begin, name, source, spec)

    async def outdated(self, name: str, identity: str, after: int) -> list[OutdatedPoint]:
        """Return a page of points whose current text has no vector in the staged collection."""
        return await self._executors.read(
            PAGE_POINTS, self._reembedding.outdated, name, identity, after
        )

    async def fill_staged(
        self, name: str, identity: str, points: Sequence[OutdatedPoint], vectors: Vectors
    ) -> None:
        """Store the vectors of points in the staged collection."""
        size = int(vectors.nbytes)
        await self._executors.write(size, self._reembedding.fill, name, identity, points, vectors)

    async def freeze(self, name: str, identity: str, dropping: bool) -> None:
        """Refuse writes to the collection until the staged collection has replaced it."""
        await self._executors.write(1, self._reembedding.freeze, name, identity, dropping)

    async def switch(self, name: str, identity: str) -> None:
        """Replace the collection by its staged collection."""
        await self._executors.write(1, self._reembedding.switch, name, identity)

    async def discard_staged(self, name: str, identity: str) -> None:
        """Delete the staged collection with this identity, if there is one."""
        await self._executors.write(1, self._reembedding.discard, name, identity)
