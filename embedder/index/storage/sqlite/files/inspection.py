"""Check every row of a stopped shard.

Snapshots are not checked, because they are rebuilt from the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from embedder.core.storage_errors import StorageDamaged
from embedder.index.storage.disk.lock import DirectoryLock
from embedder.index.storage.inspection import CheckedCollection, Inspection
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.sqlite.collection_table import (
    FILE_NAME,
    as_collection,
    stored_collections,
)
from embedder.index.storage.sqlite.files.stopped_shard import connected
from embedder.index.storage.sqlite.schema import check_format
from embedder.index.storage.sqlite.snapshot import SqliteSnapshot


def inspect(directory: Path) -> Inspection:
    """Check every row of a shard, and change nothing.

    Raises:
        DirectoryInUse: a running service uses the directory.
        NewerFormat: a later version wrote the file.
    """
    with closing(DirectoryLock(directory)):
        return Inspection(
            problem_of_file(directory), [checked for _, checked in check_collections(directory)]
        )


def problem_of_file(directory: Path) -> str | None:
    """Return what SQLite finds wrong with the file, or None."""
    try:
        with connected(directory) as db:
            check_format(db, directory / FILE_NAME)
            found = [text for (text,) in db.execute("PRAGMA integrity_check(3)")]
    except (StorageDamaged, sqlite3.Error) as error:
        return _problem_of(error)
    return None if found == ["ok"] else "; ".join(found)


def check_collections(directory: Path) -> Iterator[tuple[CollectionRow | None, CheckedCollection]]:
    """Check and yield the named collections, as far as they can be read."""
    try:
        with connected(directory) as db:
            found = stored_collections(db, "name IS NOT NULL")
    except (StorageDamaged, sqlite3.Error):
        return  # reported as the problem of the file
    for values in found:
        name, count = str(values[2]), values[8]
        try:
            row = as_collection(values)
            with connected(directory) as db:
                for _ in SqliteSnapshot(db, directory / FILE_NAME).scan(row):
                    pass
        except (StorageDamaged, sqlite3.Error) as error:
            yield (
                None,
                CheckedCollection(name, count if isinstance(count, int) else 0, _problem_of(error)),
            )
        else:
            yield row, CheckedCollection(name, row.count, None)


def _problem_of(error: StorageDamaged | sqlite3.Error) -> str:
    return error.problem if isinstance(error, StorageDamaged) else str(error)
