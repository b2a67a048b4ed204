"""Codes of the operating system that mean a full or failing disk.

The index has no other list of such codes beside those of its database. The cache replaces its file
on any error.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedder.core.errors import EmbedderError
from embedder.core.storage_errors import StorageFull, StorageReadOnly

FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FAILED_ERRNOS = frozenset({errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE})


def disk_error(error: OSError, path: Path) -> EmbedderError | None:
    """Return the storage error that ``error`` means for ``path``, or None.

    Only the listed codes count: any other exception is about the call, and not about the disk.
    """
    if error.errno in FULL_ERRNOS:
        return StorageFull(str(path))
    return StorageReadOnly(str(path), repr(error)) if error.errno in FAILED_ERRNOS else None


@contextmanager
def translate_disk_errors(path: Path) -> Iterator[None]:
    """Translate exceptions with `disk_error`, and raise others unchanged.

    Raises:
        StorageFull: the disk is full.
        StorageReadOnly: the disk failed in another way.
    """
    try:
        yield
    except OSError as error:
        known = disk_error(error, path)
        if known is None:
            raise
        raise known from error
