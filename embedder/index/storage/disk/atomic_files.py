"""Write files atomically, and report why a file cannot be written."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from embedder.core.private_files import create, sync
from embedder.core.storage_errors import NotWritten, StorageFull
from embedder.index.storage.failpoints import reach

EXISTS = "it exists already; choose another place"


@contextmanager
def raising_not_written(path: Path) -> Iterator[None]:
    """Turn errors of the disk into one that names ``path``, chosen by the operator.

    Raises:
        NotWritten: the path cannot be written.
    """
    try:
        yield
    except (OSError, StorageFull) as error:
        raise NotWritten(str(path), _problem(path, error)) from error


def _problem(path: Path, error: Exception) -> str:
    if isinstance(error, FileExistsError):
        return EXISTS
    if isinstance(error, OSError) and not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file through a temporary one and a rename; it is durable when this returns.

    Raises:
        OSError: the disk refused; an existing file is unchanged.
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
    sync(path.parent)


def write_once(path: Path, content: bytes) -> None:
    """Write a file atomically unless it exists; safe from several processes at once.

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
