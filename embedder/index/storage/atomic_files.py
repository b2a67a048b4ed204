"""Publishes files whole or not at all, and says why a file cannot be written.

Knows nothing of their content.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from embedder.core.private_files import create
from embedder.core.storage_errors import NotWritten, StorageFull
from embedder.index.storage.failpoints import reach

EXISTS = "it exists already; choose another place"


@contextmanager
def raising_not_written(path: Path) -> Iterator[None]:
    """Name ``path``, which the operator chose, in what the disk or SQLite refuses inside.

    Raises:
        NotWritten: it cannot be written; the problem says why.
    """
    try:
        yield
    except (OSError, sqlite3.Error, StorageFull) as error:
        raise NotWritten(str(path), _problem(path, error)) from error


def _problem(path: Path, error: Exception) -> str:
    if isinstance(error, FileExistsError):
        return EXISTS
    if isinstance(error, OSError) and not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a whole file or none, durable when this returns; an old file of the name is replaced.

    Raises:
        OSError: the disk refused; no part of the file is left.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with create(temporary) as file:
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


def write_once(path: Path, content: bytes) -> None:
    """Write a whole file, durable when this returns, unless it is there already.

    Other processes that do the same at the same time find no file or a whole one.

    Raises:
        OSError: the disk refused.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not path.exists():
            write_atomically(path, lambda file: file.write(content))
    finally:
        os.close(folder)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
