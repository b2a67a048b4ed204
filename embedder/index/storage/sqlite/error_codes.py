"""Codes of SQLite that mean a full or failing disk, or a damaged file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedder.core.errors import EmbedderError
from embedder.core.storage_errors import UNNAMED, StorageDamaged, StorageFull, StorageReadOnly
from embedder.index.storage.disk.disk_codes import disk_error

FEW_BYTES = 1 << 20
"""Below this free space, an I/O or open error of SQLite counts as a full disk."""

_READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 8, 10, 11, 13, 14, 26
"""Primary result codes of SQLite; the sqlite3 module names them since Python 3.11."""

_FSYNC_FAILED = _IOERR | 4 << 8
"""SQLITE_IOERR_FSYNC, which never means a full disk."""

_MESSAGES = {
    "database or disk is full": _FULL,
    "disk I/O error": _IOERR,
    "attempt to write a readonly database": _READONLY,
    "unable to open database file": _CANTOPEN,
    "database disk image is malformed": _CORRUPT,
    "malformed database schema": _CORRUPT,
    "file is not a database": _NOTADB,
}
"""Codes by message, for Python 3.10, whose errors have no code."""


def storage_error(error: BaseException, path: Path) -> EmbedderError | None:
    """Return the storage error that ``error`` means for ``path``, or None.

    Only the listed codes count: any other exception is about the call, and not about the disk.
    """
    if isinstance(error, EmbedderError):
        return error
    if isinstance(error, OSError):
        return disk_error(error, path)
    return _sqlite_error(error, path) if isinstance(error, sqlite3.Error) else None


@contextmanager
def translate_storage_errors(path: Path) -> Iterator[None]:
    """Translate exceptions with `storage_error`, and raise others unchanged.

    Raises:
        StorageDamaged: the file is damaged.
        StorageFull: the disk is full.
        StorageReadOnly: the disk failed in another way.
    """
    try:
        yield
    except Exception as error:
        known = storage_error(error, path)
        if known is None or known is error:
            raise
        raise known from error


def _sqlite_error(error: sqlite3.Error, path: Path) -> EmbedderError | None:
    if str(error).startswith("Could not decode to UTF-8"):
        # Raised by the sqlite3 module without a code: the text was UTF-8 when it was written.
        return StorageDamaged(str(path), str(error), UNNAMED)
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:
        code = next((code for text, code in _MESSAGES.items() if text in str(error)), 0)
    primary = code & 0xFF
    if primary in (_CORRUPT, _NOTADB):
        return StorageDamaged(str(path), repr(error))
    may_be_full = primary in (_IOERR, _CANTOPEN) and code != _FSYNC_FAILED
    if primary == _FULL or (may_be_full and _has_no_space(path)):
        return StorageFull(str(path))
    failed = primary in (_IOERR, _READONLY)
    return StorageReadOnly(str(path), repr(error)) if failed else None


def _has_no_space(path: Path) -> bool:
    space = os.statvfs(path.parent)
    return space.f_bavail * space.f_frsize < FEW_BYTES
