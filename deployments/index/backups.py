"""Backups, restores and exports of one shard's part of a collection, on the shard's node.

The backup of an index with one shard is a folder as the library writes it. With several shards, the
folder holds a folder for each shard, and a file, written last, with the number of shards.
"""

from __future__ import annotations

from pathlib import Path

from embedder.core.private_files import OWNER_ONLY_FOLDER
from embedder.core.storage_errors import BadBackup, NotWritten
from embedder.index.backup import MANIFEST
from embedder.index.contract.points import CollectionInfo
from embedder.index.storage.atomic_files import EXISTS, raising_not_written, write_once
from embedder.index.vector_index import VectorIndex

SHARDS_FILE = "SHARDS"


class ShardBackups:
    """Writes and reads the copies of one of ``shards`` shards."""

    def __init__(self, index: VectorIndex, shard: str, shards: int) -> None:
        self._index = index
        self._shard = shard
        self._shards = shards

    def back_up(self, name: str, folder: Path) -> int:
        """Copy the shard's part of a collection and return its number of points.

        Raises:
            NotWritten: the folder already holds a backup, or cannot be written.
        """
        if self._shards > 1 and (folder / SHARDS_FILE).exists():
            raise NotWritten(str(folder), EXISTS)
        return self._index.back_up(name, self._part(folder)).count

    def finish_backup(self, folder: Path) -> None:
        """Record that all shards have copied their parts; before that, none can be restored.

        Raises:
            NotWritten: the folder cannot be written.
        """
        if self._shards > 1:
            # Several shards of one node write the same file; the first one succeeds.
            with raising_not_written(folder):
                write_once(folder / SHARDS_FILE, f"{self._shards}\n".encode())

    def restore(
        self, folder: Path, name: str, identity: str, *, replacing: bool = False
    ) -> CollectionInfo:
        """Create the shard's part of a collection; all shards give it the same identity.

        Raises:
            BadBackup: the backup is incomplete, or has another number of shards.
            InvalidInput: the name is invalid, or exists and ``replacing`` is not set.
        """
        recorded = _shards_of(folder)
        if recorded != self._shards:
            raise BadBackup(
                str(folder), f"it has {recorded} shards, but this service has {self._shards}"
            )
        return self._index.restore(self._part(folder), name, identity, replacing=replacing)

    def export(self, name: str, file: Path) -> int:
        """Write the shard's part to Parquet and return its number of points.

        With several shards, ``file`` becomes a folder with a file for each shard.

        Raises:
            NotWritten: the file exists, or cannot be written.
            MissingExtra: pyarrow is not installed.
        """
        if self._shards > 1:
            with raising_not_written(file):
                file.mkdir(OWNER_ONLY_FOLDER, exist_ok=True)
            file = file / f"{self._shard}.parquet"
        return self._index.export_parquet(name, file)

    def _part(self, folder: Path) -> Path:
        return folder / self._shard if self._shards > 1 else folder


def _shards_of(folder: Path) -> int:
    """Return the number of shards of a backup.

    Raises:
        BadBackup: the folder is not a backup, or an unfinished one.
    """
    try:
        return 1 if (folder / MANIFEST).exists() else int((folder / SHARDS_FILE).read_text())
    except (OSError, ValueError) as error:
        missing = f"it has no {MANIFEST} and no valid {SHARDS_FILE} ({error})"
        raise BadBackup(str(folder), f"{missing}: not a backup, or unfinished") from error
