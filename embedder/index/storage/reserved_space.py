"""Space on the disk that is held back for deletes and for a start, which a full disk would refuse.

A deletion and a start write a little before they free anything. The reserve is a file whose blocks
are allocated; it is given up piece by piece, and made whole again as soon as the disk has room.
Knows nothing of the content.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from embedder.core.private_files import OWNER_ONLY

FILE_NAME = "RESERVE"
SHARE = 8
"""Of a small disk it is no more than this part."""

CHUNKS = 32


class ReservedSpace:
    """The reserve of one directory; used by one thread at a time."""

    def __init__(self, directory: Path, most: int) -> None:
        """Prepare a reserve of ``most`` bytes, less on a small disk; `restore` makes it."""
        space = os.statvfs(directory)
        self._path = directory / FILE_NAME
        self.bytes = min(most, space.f_blocks * space.f_frsize // SHARE)

    @property
    def is_complete(self) -> bool:
        """Say whether nothing of it has been given up since it was last whole."""
        return self._size() >= self.bytes

    def restore(self) -> bool:
        """Make it whole where the disk has room for that; False where it has not."""
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
                self.bytes = 0  # the file system cannot hold space back
        finally:
            os.close(file)
        return self.is_complete

    def release_chunk(self) -> bool:
        """Give a piece to the disk; False where none is left."""
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
