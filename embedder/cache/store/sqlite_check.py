"""Checks of a SQLite file (its format, its tables, damage), and the renaming of an unusable file.

The format is the ``user_version`` of the file: positive if the file was closed, negative while it
is open, so that a file that was not closed is checked.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

APPLICATION_ID = 0x456D4243
FORMAT = 1
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)

FILE_SUFFIXES = ("-wal", "-shm", "")
"""Of the files to remove. The log first: SQLite would apply an old log to a new file."""


def problem_of(connection: sqlite3.Connection, schema: Sequence[str]) -> str | None:
    """Return why the file cannot be used, or None if it can."""
    tables = tables_of(connection)
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not tables and not application:
        return None  # new, or its creation was interrupted
    if application != APPLICATION_ID:
        return "is not a cache of this program"
    if abs(version) != FORMAT:
        return f"has format {abs(version)}, and this program reads {FORMAT}"
    if tables != {statement.encode() for statement in schema}:
        return "is damaged: its tables are not those of its format"
    if version > 0:
        return None
    # One finding is enough, and each page is read once.
    (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return None if finding == b"ok" else f"is damaged: {finding.decode(errors='replace')}"


def tables_of(connection: sqlite3.Connection) -> set[bytes]:
    """Return the statements that created the tables."""
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {statement for (statement,) in rows}


def is_damage(error: Exception) -> bool:
    """Tell damage from other errors; SQLite's class for damage has no name of its own.

    No statement of the store violates the schema, so an integrity error means damage. A message
    that cannot be decoded quotes a damaged schema.
    """
    damaged = isinstance(error, sqlite3.IntegrityError | UnicodeDecodeError)
    return damaged or type(error) is sqlite3.DatabaseError


def rename_unusable(path: Path) -> Path:
    """Rename a file and its log, and return the new path."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = f"{path.name}.corrupt-{stamp}"
    target, number = path.with_name(name), 1
    while target.exists():
        number += 1
        target = path.with_name(f"{name}-{number}")
    for suffix in FILE_SUFFIXES:
        with suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{target}{suffix}")
    return target
