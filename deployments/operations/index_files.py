"""Check, repair and restore of an index's files while no service uses them.

A running service locks the files.
"""

from __future__ import annotations

import uuid
from contextlib import ExitStack, closing
from pathlib import Path

from deployments.data import index_directory, recorded_shards
from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError
from embedder.index import sharding
from embedder.index.contract.points import CollectionInfo
from embedder.index.inspection import Inspection, inspect, repair
from embedder.index.vector_index import VectorIndex


class IndexFiles:
    """The shards of one index, by their folders."""

    def __init__(self, settings: ServeSettings) -> None:
        """Find the shards of a service with these settings.

        Raises:
            ConfigurationError: the service keeps no data, or there is no index.
        """
        directory = index_directory(settings)
        if directory is None:
            raise ConfigurationError("data_directory is null, so the index has no files")
        self._folders = sorted(
            (path for path in directory.glob("VectorIndex-*") if path.is_dir()),
            key=lambda path: (len(path.name), path.name),
        )
        if not self._folders:
            raise ConfigurationError(f"there is no index in {directory}")
        self._shards = recorded_shards(directory)
        self._settings = settings.index

    def check(self) -> dict[str, Inspection]:
        """Check every row of every shard without changes; return the results by shard.

        Raises:
            DirectoryInUse: a running service uses the files.
        """
        return {folder.name: inspect(folder) for folder in self._folders}

    def repair(self) -> dict[str, tuple[Inspection, Path | None]]:
        """Rebuild damaged files from their intact collections, as `inspection.repair`.

        Raises:
            DirectoryInUse: a running service uses the files.
            NotWritten: the disk has no space for a new file.
        """
        return {folder.name: repair(folder) for folder in self._folders}

    def restore(self, backup: Path, name: str, *, replacing: bool) -> CollectionInfo:
        """Create a collection from a backup in all shards, one after the other.

        After a failure the shards before it keep the collection.

        Raises:
            BadBackup: the backup is incomplete, or has another number of shards.
            DirectoryInUse: a running service uses the files.
            InvalidInput: the name is invalid, or exists and ``replacing`` is not set.
            StorageDamaged: the file of a shard must be repaired first.
        """
        with ExitStack() as stack:
            shards = []
            for folder in self._folders:
                settings = self._settings.model_copy(update={"directory": str(folder)})
                index = VectorIndex(settings, folder.name, self._shards, background=False)
                shards.append(stack.enter_context(closing(index)))
            identity = uuid.uuid4().hex
            return sharding.merge_infos(
                [shard.restore(backup, name, identity, replacing) for shard in shards]
            )
