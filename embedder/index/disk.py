"""What an error of the disk means for those who write, and how a file is published.

A full disk passes: writes are refused one by one until there is space. Any other failure of a
write leaves it open what has reached the disk, so nothing may be written after it. Knows nothing
of what is stored.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from embedder.errors import EmbedderError
from embedder.index.failpoints import reach
from embedder.index.schema import is_damage
from embedder.storage_errors import StorageDamaged, StorageFull, StorageReadOnly

FEW_BYTES = 1 << 20
"""With less than this free, a failed write of SQLite's own bookkeeping means a full disk."""

_SYNC_FAILED = 1034
"""SQLITE_IOERR_FSYNC, which is never about space."""


def disk_error(error: Exception, path: Path) -> EmbedderError:
    """Return what a failure while writing ``path`` means."""
    if isinstance(error, EmbedderError):
        return error
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return StorageFull(str(path)) if full else StorageReadOnly(str(path), repr(error))
    if isinstance(error, sqlite3.OperationalError) and _is_full(error, path):
        return StorageFull(str(path))
    if isinstance(error, sqlite3.DatabaseError) and is_damage(error):
        return StorageDamaged(str(path), repr(error))
    return StorageReadOnly(str(path), repr(error))


def publish(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a whole file or none, durable when this returns; an old file of the name is replaced.

    Raises:
        OSError: the disk refused; no part of the file is left.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            reach("snapshot.after_write")
            os.fsync(file.fileno())
        reach("snapshot.after_fsync")
        os.replace(temporary, path)
        reach("snapshot.after_rename")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_full(error: sqlite3.OperationalError, path: Path) -> bool:
    if "full" in str(error):
        return True
    if "I/O" not in str(error) or getattr(error, "sqlite_errorcode", None) == _SYNC_FAILED:
        return False
    space = os.statvfs(path.parent)
    return space.f_bavail * space.f_frsize < FEW_BYTES
