"""Only listed codes of SQLite and of the operating system are reported as storage errors."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from embedder.core.storage_errors import StorageDamaged, StorageFull, StorageReadOnly
from embedder.index.storage.sqlite.error_codes import storage_error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "x"), StorageFull),
        (sqlite3.OperationalError("database or disk is full"), StorageFull),
        (sqlite3.OperationalError("disk I/O error"), StorageReadOnly),
        (sqlite3.OperationalError("attempt to write a readonly database"), StorageReadOnly),
        (sqlite3.DatabaseError("database disk image is malformed"), StorageDamaged),
        (sqlite3.DatabaseError("file is not a database"), StorageDamaged),
        (sqlite3.OperationalError("Could not decode to UTF-8 column 'text'"), StorageDamaged),
        (StorageFull("x"), StorageFull),
        (OSError(errno.EMFILE, "x"), None),
        (sqlite3.OperationalError("parser stack overflow"), None),
        (sqlite3.OperationalError("database is locked"), None),
        (sqlite3.IntegrityError("UNIQUE constraint failed: points.pk"), None),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), None),
        (sqlite3.DataError("string or blob too big"), None),
        (MemoryError(), None),
        (RecursionError(), None),
        (OverflowError("Python int too large to convert to SQLite INTEGER"), None),
        (ValueError("embedded null character"), None),
        ("\ud800".encode, None),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_an_error_is_a_storage_error_only_if_its_code_is_listed(
    error: Exception | Callable[[], object], kind: type[Exception] | None, tmp_path: Path
) -> None:
    if callable(error):
        with pytest.raises(UnicodeEncodeError) as raised:
            error()
        error = raised.value
    found = storage_error(error, tmp_path / "truth.db")

    assert (None if found is None else type(found)) is kind
