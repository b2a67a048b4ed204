"""The files of an index while no service uses them: its shards, and the restore of a collection.

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
from embedder.index.vector_index import VectorIndex


def shard_folders(settings: ServeSettings) -> list[Path]:
    """Return the folder of each shard of a service with these settings, in order.

    Raises:
        ConfigurationError: the service keeps no data, or there is no index with a recorded number
            of shards.
    """
    directory = index_directory(settings)
    if directory is None:
        raise ConfigurationError("data_directory is null, so the index has no files")
    folders = [path for path in directory.glob("VectorIndex-*") if path.is_dir()]
    if not folders:
        raise ConfigurationError(f"there is no index in {directory}")
    recorded_shards(directory)
    return sorted(folders, key=lambda path: (len(path.name), path.name))


def restore(settings: ServeSettings, backup: Path, name: str, *, replacing: bool) -> CollectionInfo:
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
        for folder in shard_folders(settings):
            opened = settings.index.model_copy(update={"directory": str(folder)})
            count = recorded_shards(folder.parent)
            index = VectorIndex(opened, folder.name, count, background=False)
            shards.append(stack.enter_context(closing(index)))
        identity = uuid.uuid4().hex
        return sharding.merge_infos(
            [shard.restore(backup, name, identity, replacing) for shard in shards]
        )
