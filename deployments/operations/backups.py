"""Collections of a running service carried to folders of its shards' nodes and back.

Sees the shards as handles. Knows nothing of what they write, nor of command lines.
"""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

from deployments.index.gathering import gather_all
from deployments.index.sharded_client import RemoteIndex
from deployments.operations.running_service import RunningService
from embedder.index import sharding
from embedder.index.contract.points import CollectionInfo


class IndexBackups:
    """Backups, restores and exports while the service goes on; used from one event loop."""

    def __init__(self, service: RunningService) -> None:
        self._shards = RemoteIndex(service.shards("VectorIndex")).shards

    async def back_up(self, name: str, folder: Path) -> int:
        """Copy a collection into a folder that must not be a backup yet; return its points.

        Each shard's share is of one moment, and the moments differ by little.

        Raises:
            UnknownCollection: there is none of this name.
            NotWritten: the folder is taken, or cannot be written.
        """
        counts = await gather_all(
            shard.call(None, "back_up", name, folder) for shard in self._shards
        )
        await gather_all(shard.call(None, "finish_backup", folder) for shard in self._shards)
        return sum(map(int, counts))

    async def restore(self, folder: Path, name: str, *, replacing: bool = False) -> CollectionInfo:
        """Make a collection of a backup in all shards, or in none.

        With ``replacing`` it takes the place of a collection of the name. Where that fails in some
        shards, the others keep what was restored, and the same again completes it.

        Raises:
            BadBackup: it is not whole, or lies over another number of shards.
            InvalidInput: the name is not plain, or taken and ``replacing`` is not set.
        """
        identity = uuid.uuid4().hex
        told = await asyncio.gather(
            *(
                shard.call(None, "restore", folder, name, identity, replacing)
                for shard in self._shards
            ),
            return_exceptions=True,
        )
        infos = [one for one in told if not isinstance(one, BaseException)]
        for failure in (one for one in told if isinstance(one, BaseException)):
            await gather_all(
                shard.call(None, "delete", name)
                for shard, one in zip(self._shards, told, strict=True)
                if not isinstance(one, BaseException) and not replacing
            )
            raise failure
        return sharding.merge_infos(infos)

    async def export(self, name: str, file: Path) -> int:
        """Write a collection to Parquet, a part from each shard; return its points.

        Raises:
            UnknownCollection: there is none of this name.
            NotWritten: the file is there already, or cannot be written.
        """
        return sum(
            map(
                int,
                await gather_all(shard.call(None, "export", name, file) for shard in self._shards),
            )
        )
