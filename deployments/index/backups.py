"""Copies of a shard's share of a collection: where they lie on its node, and which belong together.

A single shard's backup is the folder itself, as the library writes it. Of several, each has a
folder named after it inside, and a note beside them that is written last says how many they are.
Knows nothing of other shards.
"""

from __future__ import annotations

from pathlib import Path

from embedder.core.private_files import OWNER_ONLY_FOLDER
from embedder.core.storage_errors import BadBackup, NotWritten
from embedder.index.backup import MANIFEST
from embedder.index.contract.points import CollectionInfo
from embedder.index.storage.atomic_files import EXISTS, raising_not_written, write_once
from embedder.index.vector_index import VectorIndex

NOTE = "SHARDS"


class ShardBackups:
    """What one of ``shards`` shards writes to folders of its node and reads from them."""

    def __init__(self, index: VectorIndex, shard: str, shards: int) -> None:
        self._index = index
        self._shard = shard
        self._shards = shards

    def back_up(self, name: str, folder: Path) -> int:
        """Copy the share of a collection and return its points.

        Raises:
            NotWritten: there is a copy already, or the folder cannot be written.
        """
        if self._shards > 1 and (folder / NOTE).exists():
            raise NotWritten(str(folder), EXISTS)
        return self._index.back_up(name, self._part(folder)).count

    def finish_backup(self, folder: Path) -> None:
        """Note that all shares are there; before that, none of them can be restored.

        Raises:
            NotWritten: the folder cannot be written.
        """
        if self._shards > 1:
            # Several shards of one node write the same, and whoever comes first has done it.
            with raising_not_written(folder):
                write_once(folder / NOTE, f"{self._shards}\n".encode())

    def restore(
        self, folder: Path, name: str, identity: str, *, replacing: bool = False
    ) -> CollectionInfo:
        """Make a collection of the share, with the identity that it has in all shards.

        Raises:
            BadBackup: it is not whole, or of another number of shards; nothing of it is kept.
            InvalidInput: the name is not plain, or taken and ``replacing`` is not set.
        """
        noted = _shards_of(folder)
        if noted != self._shards:
            raise BadBackup(
                str(folder), f"it lies over {noted} shards, and this service has {self._shards}"
            )
        return self._index.restore(self._part(folder), name, identity, replacing=replacing)

    def export(self, name: str, file: Path) -> int:
        """Write the share to Parquet, of several shards into a folder of that name; count points.

        Raises:
            NotWritten: the file is there already, or cannot be written.
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
    """Return over how many shards a backup lies.

    Raises:
        BadBackup: it is none, or one that was not finished.
    """
    try:
        return 1 if (folder / MANIFEST).exists() else int((folder / NOTE).read_text())
    except (OSError, ValueError) as error:
        problem = f"it has neither {MANIFEST} nor a sound {NOTE} ({error}): no backup, or half one"
        raise BadBackup(str(folder), problem) from error
