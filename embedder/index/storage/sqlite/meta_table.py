"""The table ``meta`` of a file: single values by key."""

from __future__ import annotations

import sqlite3

from embedder.core.storage_errors import StorageDamaged
from embedder.index.storage.sqlite.collection_table import FILE_NAME


def read_meta(connection: sqlite3.Connection, key: str) -> int | str:
    """Return a value of the table ``meta``.

    Raises:
        StorageDamaged: the value is missing.
    """
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None or not isinstance(row[0], (int, str)):
        raise StorageDamaged(FILE_NAME, f"the table meta has no {key}")
    value: int | str = row[0]
    return value


def read_number(connection: sqlite3.Connection, key: str) -> int:
    """Return a number of the table ``meta``.

    Raises:
        StorageDamaged: the value is missing, or is not a number.
    """
    value = read_meta(connection, key)
    if not isinstance(value, int):
        raise StorageDamaged(FILE_NAME, f"has {key} {value!r}")
    return value


def write_meta(connection: sqlite3.Connection, key: str, value: int | str) -> None:
    """Set a value of the table ``meta``."""
    connection.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))
