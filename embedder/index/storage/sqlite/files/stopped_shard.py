"""Read the file of a shard that no service uses."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from embedder.core.errors import ConfigurationError
from embedder.index.storage.disk.lock import DirectoryLock
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.sqlite.collection_table import (
    FILE_NAME,
    as_collection,
    stored_collections,
)
from embedder.index.storage.sqlite.error_codes import translate_storage_errors
from embedder.index.storage.sqlite.schema import check_format, open_reader
from embedder.index.storage.sqlite.snapshot import SqliteSnapshot


class StoppedShard(SqliteSnapshot):
    """The rows of a file of any version."""

    def find_collection(self, name: str) -> CollectionRow | None:
        """Return the collection of this name, or None."""
        found = stored_collections(self.db, "name = ?", (name,))
        return as_collection(found[0]) if found else None


@contextmanager
def read_stopped(directory: Path) -> Iterator[StoppedShard]:
    """Yield the rows of a shard, and lock its directory meanwhile.

    Raises:
        ConfigurationError: the directory has no file.
        DirectoryInUse: a running service uses the directory.
        NewerFormat: a later version wrote the file.
        StorageDamaged: the file is damaged.
    """
    path = directory / FILE_NAME
    if not path.exists():
        raise ConfigurationError(f"there is no file {path}: its service has not started yet")
    with closing(DirectoryLock(directory)), connected(directory) as db:
        check_format(db, path)
        db.execute("BEGIN")
        yield StoppedShard(db, path)


@contextmanager
def connected(directory: Path) -> Iterator[sqlite3.Connection]:
    """Yield a read-only connection to the file of a directory that the caller has locked."""
    path = directory / FILE_NAME
    with translate_storage_errors(path), closing(open_reader(path)) as db:
        yield db
