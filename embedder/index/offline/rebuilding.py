"""Build the FAISS segments of a shard again from its rows, and save them."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

from embedder.index.shard_folder import FOLDER
from embedder.index.storage.disk.lock import DirectoryLock
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings

AT_ONCE_S = 1e-9
"""A start that may take so long needs a snapshot of every segment."""


def delete_snapshots(directory: Path) -> None:
    """Delete all snapshots in the directory of a shard or a replica.

    Raises:
        DirectoryInUse: a running service uses the directory.
    """
    with closing(DirectoryLock(directory)):
        shutil.rmtree(directory / FOLDER, ignore_errors=True)


def save_snapshots(settings: IndexSettings, name: str, shards: int) -> None:
    """Open a shard, and save a snapshot of every segment that has none.

    A segment that is built has the kind and the parameters that the settings state. If interrupted,
    the next start reads the missing points from the rows.

    Raises:
        DirectoryInUse: a running service uses the directory.
        OSError: the disk failed or is full.
        StorageDamaged: the rows cannot be read at all.
    """
    eager = settings.model_copy(update={"recovery_s": AT_ONCE_S})
    with closing(VectorIndex(eager, name, shards, background=False)) as index:
        index.run_maintenance()
