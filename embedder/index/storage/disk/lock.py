"""The lock of a directory, which has one owner at a time; a second owner is refused.

The operating system releases the lock when its process ends, so a crash leaves nothing to clean up.
Network file systems do not guarantee this.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from embedder.core.private_files import OWNER_ONLY
from embedder.core.storage_errors import DirectoryInUse

FILE_NAME = "LOCK"


class DirectoryLock:
    """Holds the lock of an existing ``directory`` until `close`."""

    def __init__(self, directory: Path) -> None:
        """Take the lock.

        Raises:
            DirectoryInUse: another owner has it, in this process or another.
        """
        self.directory = directory
        self._file = os.open(
            directory / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY
        )
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._file, 200, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise DirectoryInUse(str(directory), owner or "unknown") from None

    def sign(self, epoch: int) -> None:
        """Write the process id and the epoch into the file, for the message to a second owner."""
        text = f"pid {os.getpid()}, epoch {epoch}\n".encode()
        # Overwrite in place: after a rename, the lock would be on a file that no other owner opens.
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))

    def close(self) -> None:
        """Release the lock; idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
