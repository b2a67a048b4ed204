"""Disk space reserved for deletes and for a start, which must work on a full disk.

Both write a little before they free anything. The reserve is a file of allocated blocks. It is
released in chunks, and allocated again as soon as the disk has room.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from embedder.core.private_files import OWNER_ONLY

FILE_NAME = "RESERVE"
SHARE = 8
"""The reserve is at most this fraction (1/8) of the disk."""

CHUNKS = 32


class ReservedSpace:
    """The reserve of one directory; used by one thread at a time."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        """Plan a reserve of ``max_bytes``, less on a small disk; `restore` allocates it."""
        space = os.statvfs(directory)
        self._path = directory / FILE_NAME
        self.bytes = min(max_bytes, space.f_blocks * space.f_frsize // SHARE)

    @property
    def is_complete(self) -> bool:
        """Say whether all of it is allocated."""
        return self._size() >= self.bytes

    def restore(self) -> bool:
        """Allocate what is missing; return False if the disk has no room."""
        if self.is_complete:
            return True
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        except OSError:
            return False
        before = os.fstat(file).st_size
        try:
            os.posix_fallocate(file, 0, self.bytes)
        except OSError as error:
            os.ftruncate(file, before)
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                self.bytes = 0  # the file system cannot allocate in advance
        finally:
            os.close(file)
        return self.is_complete

    def release_chunk(self) -> bool:
        """Free a chunk; return False if none is left."""
        size = self._size()
        if not size:
            return False
        with suppress(OSError):
            os.truncate(self._path, max(0, size - max(1, self.bytes // CHUNKS)))
        return self._size() < size

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0
