"""Backup, restore and export of collections in folders of the shards' nodes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path

from deployments.index.client import RemoteShard
from deployments.index.gathering import errors_in, gather_all
from embedder.core.deadline import NEVER
from embedder.index import sharding
from embedder.index.contract.points import CollectionInfo
from embedder.index.vector_index import VectorIndex


class IndexBackups:
    """Backs up, restores and exports collections of a running service; used from one event loop."""

    def __init__(self, shards: Sequence[RemoteShard]) -> None:
        self._shards = shards

    async def back_up(self, name: str, folder: Path) -> int:
        """Copy a collection into a new folder; return its number of points.

        Each shard copies its state at one moment; the moments of two shards differ slightly.

        Raises:
            UnknownCollection: there is no collection with this name.
            NotWritten: the folder holds a backup, or cannot be written.
        """
        counts = await gather_all(
            shard.call(NEVER, VectorIndex.back_up, name, folder) for shard in self._shards
        )
        await gather_all(
            shard.call(NEVER, VectorIndex.finish_backup, folder) for shard in self._shards
        )
        return sum(counts)

    async def restore(self, folder: Path, name: str, *, replacing: bool = False) -> CollectionInfo:
        """Create a collection from a backup in all shards, or in none.

        With ``replacing`` it replaces a collection of this name. If that fails in some shards, the
        others keep the restored collection, and another restore completes it.

        Raises:
            BadBackup: the backup is incomplete, or has another number of shards.
            InvalidInput: the name is invalid, or exists and ``replacing`` is not set.
            StaleCollection: the collection was deleted before all shards had it.
        """
        identity = uuid.uuid4().hex
        results = await asyncio.gather(
            *(
                shard.call(NEVER, VectorIndex.restore, folder, name, identity, replacing)
                for shard in self._shards
            ),
            return_exceptions=True,
        )
        for error in errors_in(results):
            await gather_all(
                shard.call(NEVER, VectorIndex.delete, name, identity)
                for shard, result in zip(self._shards, results, strict=True)
                if not isinstance(result, BaseException) and not replacing
            )
            raise error
        return sharding.merge_infos([one for one in results if not isinstance(one, BaseException)])

    async def export(self, name: str, file: Path) -> int:
        """Write a collection to Parquet, each shard its part; return the number of points.

        Raises:
            UnknownCollection: there is no collection with this name.
            NotWritten: the file exists, or cannot be written.
        """
        calls = (shard.call(NEVER, VectorIndex.export, name, file) for shard in self._shards)
        return sum(await gather_all(calls))
