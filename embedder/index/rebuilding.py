"""Build the FAISS segments of a shard again from its rows, and save them."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

from embedder.index.shard import FOLDER
from embedder.index.storage.lock import DirectoryLock
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings

AT_ONCE_S = 1e-9
"""A start that may take so long needs a snapshot of every segment."""


def rebuild_snapshots(settings: IndexSettings, name: str, shards: int) -> None:
    """Delete all snapshots in a directory and make them again.

    Each segment gets the kind and the parameters that the settings state. If interrupted, the next
    start reads the missing points from the rows.

    Raises:
        DirectoryInUse: a running service uses the directory.
        OSError: the disk failed or is full.
        StorageDamaged: the rows cannot be read at all.
    """
    directory = Path(str(settings.directory))
    with closing(DirectoryLock(directory)):
        shutil.rmtree(directory / FOLDER, ignore_errors=True)
    eager = settings.model_copy(update={"recovery_s": AT_ONCE_S})
    with closing(VectorIndex(eager, name, shards, background=False)) as index:
        index.run_maintenance()
