"""Check every row of a stopped shard, and rebuild its file from the undamaged collections.

Snapshots are not checked, because they are rebuilt from the store. Only the operator chooses paths.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from embedder.core.private_files import sync
from embedder.core.storage_errors import StorageDamaged
from embedder.index.storage.atomic_files import raising_not_written
from embedder.index.storage.lock import DirectoryLock
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.sqlite.collection_file import write_collection, writing
from embedder.index.storage.sqlite.collection_table import (
    FILE_NAME,
    as_collection,
    remember_deleted,
    stored_collections,
)
from embedder.index.storage.sqlite.error_codes import translate_storage_errors
from embedder.index.storage.sqlite.schema import check_format, open_reader
from embedder.index.storage.sqlite.snapshot import SqliteSnapshot
from embedder.index.storage.staging import is_staged_name

NEW_FILE = f"{FILE_NAME}.new"


@dataclass(frozen=True, slots=True)
class CheckedCollection:
    """One collection of a file; ``problem`` is None if it is undamaged."""

    name: str
    count: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """The collections of a file; ``problem`` concerns the file itself, None if it is undamaged."""

    problem: str | None
    collections: list[CheckedCollection]

    @property
    def is_undamaged(self) -> bool:
        """Say whether nothing is damaged."""
        return self.problem is None and not any(one.problem for one in self.collections)


def inspect(directory: Path) -> Inspection:
    """Check every row of a shard, and change nothing.

    Raises:
        DirectoryInUse: a running service uses the directory.
        NewerFormat: a later version wrote the file.
    """
    with closing(DirectoryLock(directory)):
        return Inspection(
            _problem_of_file(directory), [checked for _, checked in _collections(directory)]
        )


def repair(directory: Path) -> tuple[Inspection, Path | None]:
    """Rebuild the file from the undamaged collections, and keep the damaged file under a new name.

    Return the inspection and the new path of the damaged file. If nothing is damaged, change
    nothing and return None as the path.

    Raises:
        DirectoryInUse: a running service uses the directory.
        NewerFormat: a later version wrote the file.
        NotWritten: the new file cannot be written, for example on a full disk.
    """
    with closing(DirectoryLock(directory)):
        new = directory / NEW_FILE
        _remove(new)
        try:
            with writing(new) as db:
                for identity in _deleted(directory):
                    remember_deleted(db, identity)
            checked = []
            for row, found in _collections(directory):
                checked.append(found)
                # A copy gives points new versions, so a staged collection would not match it.
                if row is not None and found.problem is None and not is_staged_name(row.name):
                    with _reading(directory) as db:
                        rows = SqliteSnapshot(db, directory / FILE_NAME)
                        write_collection(new, row, rows.scan(row))
            inspection = Inspection(_problem_of_file(directory), checked)
            if inspection.is_undamaged:
                return inspection, None
            return inspection, _swap(directory, new)
        finally:
            _remove(new)


@contextmanager
def _reading(directory: Path) -> Iterator[sqlite3.Connection]:
    path = directory / FILE_NAME
    with translate_storage_errors(path), closing(open_reader(path)) as db:
        yield db


def _problem_of_file(directory: Path) -> str | None:
    try:
        with _reading(directory) as db:
            check_format(db, directory / FILE_NAME)
            found = [text for (text,) in db.execute("PRAGMA integrity_check(3)")]
    except (StorageDamaged, sqlite3.Error) as error:
        return _problem_of(error)
    return None if found == ["ok"] else "; ".join(found)


def _collections(directory: Path) -> Iterator[tuple[CollectionRow | None, CheckedCollection]]:
    """Check and yield the named collections, as far as they can be read."""
    try:
        with _reading(directory) as db:
            found = stored_collections(db, "name IS NOT NULL")
    except (StorageDamaged, sqlite3.Error):
        return  # reported as the problem of the file
    for values in found:
        name, count = str(values[2]), values[8]
        try:
            row = as_collection(values)
            with _reading(directory) as db:
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


def _deleted(directory: Path) -> list[str]:
    """Return the identities of deleted collections, as far as they can be read."""
    try:
        with _reading(directory) as db:
            return [one for (one,) in db.execute("SELECT identity FROM deleted ORDER BY at")]
    except (StorageDamaged, sqlite3.Error):
        return []  # reported as the problem of the file, or a file of version 1


def _swap(directory: Path, new: Path) -> Path:
    """Replace the old file by the new one; at every moment, one of them has the name."""
    path = directory / FILE_NAME
    aside = path.with_name(f"{FILE_NAME}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    with raising_not_written(path):
        os.link(path, aside)
        # The log belongs to the old file; SQLite would apply it to the new one.
        for suffix in ("-wal", "-shm"):
            if Path(f"{path}{suffix}").exists():
                os.replace(f"{path}{suffix}", f"{aside}{suffix}")
        os.replace(new, path)
        sync(directory)
    return aside


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
