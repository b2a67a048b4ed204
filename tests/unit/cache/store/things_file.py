"""A SQLite file with one small table."""

from __future__ import annotations

from pathlib import Path

from embedder.cache.store.sqlite_file import SqliteFile

SCHEMA = ("CREATE TABLE things (name BLOB)",)


def new_file(path: Path) -> SqliteFile:
    """Return a file that is not open."""
    return SqliteFile(path, SCHEMA)


def add(file: SqliteFile, name: bytes) -> None:
    """Insert a row."""
    with file.transaction() as connection:
        connection.execute("INSERT INTO things VALUES (?)", (name,))


def names(file: SqliteFile) -> list[bytes]:
    """Return all rows."""
    with file.reading() as connection:
        return [name for (name,) in connection.execute("SELECT name FROM things")]


def made_file(path: Path, *, closed: bool = True) -> SqliteFile:
    """Return a file with one row."""
    file = new_file(path)
    file.open()
    add(file, b"kept")
    if closed:
        file.close()
    return file
