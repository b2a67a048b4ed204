"""Read and check the rows of a shard without opening its store, so that nothing of it changes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from embedder.index.storage.inspection import Inspection
from embedder.index.storage.protocol import Snapshot
from embedder.index.storage.sqlite.files import inspection, rebuilding, stopped_shard


def read_rows(directory: Path) -> AbstractContextManager[Snapshot]:
    """Return the rows of a shard at one moment.

    Raises:
        ConfigurationError: the directory has no file of a store.
        DirectoryInUse: a running service uses the directory.
        NewerFormat: a later version wrote the rows.
        StorageDamaged: the file is damaged.
    """
    return stopped_shard.read_stopped(directory)


def check_rows(directory: Path) -> Inspection:
    """Compare every row of a shard with its checksum, and change nothing.

    Raises:
        DirectoryInUse: a running service uses the directory.
        NewerFormat: a later version wrote the rows.
    """
    return inspection.inspect(directory)


def rebuild_rows(directory: Path) -> tuple[Inspection, Path | None]:
    """Rebuild a damaged file from its undamaged collections; see `rebuilding.rebuild_file`."""
    return rebuilding.rebuild_file(directory)
