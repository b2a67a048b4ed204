"""Files and folders that only their owner may read, because they hold texts or their vectors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

OWNER_ONLY = 0o600
OWNER_ONLY_FOLDER = 0o700


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents; an existing folder keeps its mode.

    Raises:
        OSError: the folder cannot be created, or ``path`` is not a folder.
    """
    # Path.mkdir with parents=True would set the mode of the last folder only.
    for missing in reversed([one for one in (path, *path.parents) if not one.exists()]):
        missing.mkdir(OWNER_ONLY_FOLDER, exist_ok=True)
    path.mkdir(exist_ok=True)


def create(path: Path, *, exclusive: bool = False) -> BinaryIO:
    """Open a file for writing, after creating or truncating it.

    Raises:
        OSError: the file cannot be created, or exists and ``exclusive`` is set.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_EXCL if exclusive else os.O_TRUNC)
    return os.fdopen(os.open(path, flags, OWNER_ONLY), "w+b")


def open_without_waiting(path: str, flags: int) -> int:
    """Open a file as ``opener`` of `open`, at once also if it is a pipe without a writer.

    Raises:
        OSError: the file cannot be opened.
    """
    return os.open(path, flags | os.O_NONBLOCK)


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file; it is on the disk when this returns.

    Raises:
        OSError: the file exists, or the disk failed.
    """
    with create(path, exclusive=True) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Flush a file, or the created, renamed and deleted names of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
