"""The directory of a shard, or a temporary one, and the folders of its snapshots in it."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from tempfile import mkdtemp

from embedder.core.private_files import OWNER_ONLY_FOLDER, make_folder
from embedder.index.segments.snapshot_folder import (
    SnapshotFolder,
    remove_leftovers,
    remove_orphans,
    remove_other_histories,
)
from embedder.index.segments.snapshot_format import SnapshotIdentity
from embedder.index.storage.disk.disk_codes import translate_disk_errors
from embedder.index.storage.records import CollectionRow

FOLDER = "collections"


class ShardFolder:
    """The directory of the settings; None is a temporary one that is deleted at `close`."""

    def __init__(self, directory: str | None) -> None:
        self._is_temporary = directory is None
        self.path = Path(directory or mkdtemp(prefix="embedder-index-")).expanduser()

    def make(self) -> None:
        """Create the directory, unless it exists, for the owner alone.

        Raises:
            StorageFull, StorageReadOnly: the disk is full or has failed.
        """
        with translate_disk_errors(self.path):
            make_folder(self.path)
            if (self.path / FOLDER).exists():  # an earlier version let others read it
                (self.path / FOLDER).chmod(OWNER_ONLY_FOLDER)

    def snapshots(
        self, database: str, row: CollectionRow, width: int, history: str
    ) -> SnapshotFolder:
        """Return the snapshots of a collection of the store with the uuid ``database``.

        Those of another ``history`` of its rows are deleted; see `Snapshot.history`.
        """
        identity = SnapshotIdentity(
            database=database, collection=row.uuid, metric=row.metric, width=width
        )
        directory = self.path / FOLDER / (f"{row.uuid}-{history}" if history else row.uuid)
        remove_other_histories(directory, row.uuid)
        return SnapshotFolder(directory, identity)

    def remove_leftovers(self) -> None:
        """Delete what interrupted saves have left; no collection of the shard may be open."""
        remove_leftovers(self.path / FOLDER)

    def remove_orphans(self, known: Collection[str]) -> None:
        """Delete the snapshots of all collections but those ``known`` by UUID."""
        remove_orphans(self.path / FOLDER, known)

    def close(self) -> None:
        """Delete a temporary directory."""
        if self._is_temporary:
            shutil.rmtree(self.path, ignore_errors=True)
