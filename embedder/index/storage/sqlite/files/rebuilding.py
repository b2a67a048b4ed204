"""Rebuild the file of a stopped shard from its undamaged collections.

Only the operator chooses paths.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from embedder.core.private_files import sync
from embedder.core.storage_errors import StorageDamaged
from embedder.index.storage.disk.atomic_files import raising_not_written
from embedder.index.storage.disk.lock import DirectoryLock
from embedder.index.storage.inspection import Inspection
from embedder.index.storage.sqlite.collection_table import FILE_NAME, remember_deleted
from embedder.index.storage.sqlite.files.collection_file import write_collection, writing
from embedder.index.storage.sqlite.files.inspection import check_collections, problem_of_file
from embedder.index.storage.sqlite.files.stopped_shard import connected
from embedder.index.storage.sqlite.snapshot import SqliteSnapshot
from embedder.index.storage.staging import is_staged_name

NEW_FILE = f"{FILE_NAME}.new"


def rebuild_file(directory: Path) -> tuple[Inspection, Path | None]:
    """Rebuild the file from the undamaged collections, and keep the damaged file under a new name.

    Return the inspection and the new path of the damaged file. If nothing is damaged, change
    nothing and return None as the path.

    Raises:
        DirectoryInUse: a running service uses the directory.
        NewerFormat: a later version wrote the file.
        NotWritten: the new file cannot be written, for example on a full disk.
    """
    with closing(DirectoryLock(directory)):
        checked = list(check_collections(directory))
        inspection = Inspection(problem_of_file(directory), [found for _, found in checked])
        if inspection.is_undamaged:
            return inspection, None
        new = directory / NEW_FILE
        _remove(new)
        try:
            with writing(new) as db:
                for identity in _deleted(directory):
                    remember_deleted(db, identity)
            for row, found in checked:
                # A copy gives points new versions, so a staged collection would not match it.
                if row is not None and found.problem is None and not is_staged_name(row.name):
                    with connected(directory) as db:
                        rows = SqliteSnapshot(db, directory / FILE_NAME)
                        write_collection(new, row, rows.scan(row))
            return inspection, _swap(directory, new)
        finally:
            _remove(new)


def _deleted(directory: Path) -> list[str]:
    """Return the identities of deleted collections, as far as they can be read."""
    try:
        with connected(directory) as db:
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
