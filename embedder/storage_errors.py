"""The part of the error tree that only what is kept on disk has, and what counts as each error.

    EmbedderError
    ├── StorageDamaged              what is stored cannot be trusted; nothing of it is deleted
    ├── ModelMismatch               vectors of two models would be compared
    ├── StaleCollection             the collection is another one than the caller looked up
    ├── Unavailable
    │   ├── StorageFull
    │   └── StorageReadOnly
    └── ConfigurationError
        ├── BadBackup
        ├── DirectoryInUse
        ├── NewerFormat
        └── NotWritten

The rest of the tree is in `embedder.errors`, and so are the rules for it. Paths and reasons are
for the operator's log: the sentences of what a client may see hold neither.

`storage_error` has the only list of codes that mean a full, failing or damaged disk.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedder.errors import ConfigurationError, EmbedderError, Unavailable

UNNAMED = ""

FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FAILED_ERRNOS = frozenset({errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE})

FEW_BYTES = 1 << 20
"""With less than this free, an unconfirmed error of SQLite's files means a full disk."""

_READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 8, 10, 11, 13, 14, 26
"""Primary result codes of SQLite; the module has names for them from Python 3.11 on."""

_FSYNC_FAILED = _IOERR | 4 << 8
"""SQLITE_IOERR_FSYNC, which is never about space."""

_MESSAGES = {
    "database or disk is full": _FULL,
    "disk I/O error": _IOERR,
    "attempt to write a readonly database": _READONLY,
    "unable to open database file": _CANTOPEN,
    "database disk image is malformed": _CORRUPT,
    "malformed database schema": _CORRUPT,
    "file is not a database": _NOTADB,
}
"""For errors without a code: Python 3.10 gives none."""


def storage_error(error: BaseException, path: Path) -> EmbedderError | None:
    """Return the storage error that an error at ``path`` reports, None where it reports none.

    Only listed codes of the operating system and of SQLite count. Any other exception says
    something about the call that raised it, and nothing about the disk.
    """
    if isinstance(error, EmbedderError):
        return error
    if isinstance(error, OSError):
        if error.errno in FULL_ERRNOS:
            return StorageFull(str(path))
        failed = error.errno in FAILED_ERRNOS
        return StorageReadOnly(str(path), repr(error)) if failed else None
    return _sqlite_error(error, path) if isinstance(error, sqlite3.Error) else None


@contextmanager
def naming_storage_errors(path: Path) -> Iterator[None]:
    """Turn what `storage_error` knows into the library's own errors; others pass unchanged.

    Raises:
        StorageDamaged: the file is not what was written.
        StorageFull: there is no space.
        StorageReadOnly: the disk failed otherwise.
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
        # The module's own, without a code: a text that was UTF-8 when it was written.
        return StorageDamaged(str(path), str(error), UNNAMED)
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:
        code = next((code for text, code in _MESSAGES.items() if text in str(error)), 0)
    primary = code & 0xFF
    if primary in (_CORRUPT, _NOTADB):
        return StorageDamaged(str(path), repr(error))
    unsure = primary in (_IOERR, _CANTOPEN) and code != _FSYNC_FAILED
    if primary == _FULL or (unsure and _has_no_space(path)):
        return StorageFull(str(path))
    failed = primary in (_IOERR, _READONLY)
    return StorageReadOnly(str(path), repr(error)) if failed else None


def _has_no_space(path: Path) -> bool:
    space = os.statvfs(path.parent)
    return space.f_bavail * space.f_frsize < FEW_BYTES


class StorageDamaged(EmbedderError):
    """Stored data is not what was written; retrying will not help.

    ``collection`` names the one whose rows are damaged, the file around them being sound; it is
    `UNNAMED` where only a caller knows the name, and None where the file itself is damaged.
    """

    code = "storage_damaged"

    def __init__(self, path: str, problem: str, collection: str | None = None) -> None:
        super().__init__(path, problem, collection)
        self.path = path
        self.problem = problem
        self.collection = collection

    def __str__(self) -> str:
        if self.collection is not None:
            return (
                f"stored data of collection {self.collection!r} is damaged: restore it with "
                f"'embedder index restore BACKUP {self.collection} --replace'"
            )
        return (
            "stored data of the index is damaged: stop the service, run 'embedder index repair', "
            "and then 'embedder index restore BACKUP NAME --replace' for what it could not keep"
        )

    def of(self, collection: str) -> StorageDamaged:
        """Return the same error with the name of its collection, where that is missing."""
        name = collection if self.collection == UNNAMED else self.collection
        return StorageDamaged(self.path, self.problem, name)


class ModelMismatch(EmbedderError):
    """A text belongs to another model than the vectors of its collection."""

    code = "model_mismatch"

    def __init__(self, collection: str, recorded: str, served: str) -> None:
        super().__init__(collection, recorded, served)
        self.collection = collection
        self.recorded = recorded
        self.served = served

    def __str__(self) -> str:
        return (
            f"collection {self.collection!r} holds vectors of model {self.recorded}; this text "
            f"would be embedded with {self.served}. Serve the model of the collection, or fill a "
            "new collection with its texts"
        )


class StaleCollection(EmbedderError):
    """The collection was made again, or records another model, since the caller looked it up.

    Not `Unavailable`, so that a batch with such a request fails for this request alone.
    """

    code = "stale_collection"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"collection {self.name!r} changed while the request was answered; send it again"


class StorageFull(Unavailable):
    """No space is left for what was sent; reads go on, and writes as soon as there is some."""

    code = "storage_full"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return "no space is left to store this"


class StorageReadOnly(Unavailable):
    """A write failed so that no later one can be trusted; reads go on until a restart mends it."""

    code = "storage_read_only"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return "the storage takes no writes until it is restarted"


class BadBackup(ConfigurationError):
    """A backup is damaged, incomplete, or of something else; nothing of it was restored."""

    code = "bad_backup"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path} cannot be restored: {self.problem}"


class DirectoryInUse(ConfigurationError):
    """Another process owns the directory; ``owner`` is what it wrote of itself."""

    code = "directory_in_use"

    def __init__(self, path: str, owner: str) -> None:
        super().__init__(path, owner)
        self.path = path
        self.owner = owner

    def __str__(self) -> str:
        return f"{self.path} is in use by another process ({self.owner}); each needs its own"


class NewerFormat(ConfigurationError):
    """Stored data has a format that only a later version of this library reads."""

    code = "newer_format"

    def __init__(self, path: str, found: int, supported: int) -> None:
        super().__init__(path, found, supported)
        self.path = path
        self.found = found
        self.supported = supported

    def __str__(self) -> str:
        return (
            f"{self.path} has format {self.found}; this version reads formats up to "
            f"{self.supported}: install a later one"
        )


class NotWritten(ConfigurationError):
    """A file or folder that the operator named cannot be written; nothing of it is left."""

    code = "not_written"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path} cannot be written: {self.problem}"
