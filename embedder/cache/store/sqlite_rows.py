"""The tables of a cache's SQLite file, and the statements that read and write their rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from embedder.cache.store.records import KEY_BYTES, TAG_BYTES, Records
from embedder.cache.store.rows import pack
from embedder.core.entries.blobs import RAGGED

READ_BYTES = 16 * 2**20
"""Bytes of values after which a read ends before its last row: rows of token vectors are large."""

SCHEMA = (
    # A row without a value deletes its key. Numbers have no gaps: the ends give the count.
    "CREATE TABLE entries (number INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB)",
    "CREATE TABLE models (name TEXT PRIMARY KEY, tag BLOB NOT NULL) WITHOUT ROWID",
    # All rows of these models up to a number are outdated.
    "CREATE TABLE purged (tag BLOB PRIMARY KEY, upto INTEGER NOT NULL) WITHOUT ROWID",
)

# One statement for all rows of a chunk, cut out of their concatenation: each statement waits for
# the GIL, and a busy thread releases it slowly. Without values all values are NULL.
_APPEND = (
    "WITH RECURSIVE row (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM row WHERE n + 1 < :count)"
    " INSERT INTO entries SELECT :last + 1 + n, substr(:keys, n * :key_size + 1, :key_size),"
    " substr(:values, n * :size + 1, :size) FROM row"
)
_INSERT = "INSERT INTO entries VALUES (?, ?, ?)"
_READ = "SELECT number, key, value FROM entries WHERE number < ? ORDER BY number DESC LIMIT ?"
OLDEST = "SELECT number, key FROM entries ORDER BY number LIMIT ?"
PURGE = "INSERT OR REPLACE INTO purged VALUES (?, ?)"


def append_records(
    connection: sqlite3.Connection, last: int, records: Records, now_s: float
) -> None:
    """Append rows with numbers after ``last``; ``now_s`` is the wall clock."""
    rows = pack(records, now_s)
    if records.width == RAGGED:
        _check(records.keys)
        numbered = zip(count(last + 1), records.keys, rows, strict=False)
        connection.executemany(_INSERT, numbered)
    elif rows:
        append(connection, last, records.keys, rows)


def append(
    connection: sqlite3.Connection, last: int, keys: Sequence[bytes], rows: Sequence[bytes] = ()
) -> None:
    """Append rows of one size with numbers after ``last``; without rows, deletions of the keys."""
    _check(keys)
    parameters: dict[str, Any] = {
        "last": last,
        "count": len(keys),
        "keys": b"".join(keys),
        "key_size": KEY_BYTES,
        "values": b"".join(rows) if rows else None,
        "size": len(rows[0]) if rows else 0,
    }
    connection.execute(_APPEND, parameters)


def read(connection: sqlite3.Connection, before: int, most: int) -> list[tuple[Any, Any, Any]]:
    """Return number, key and value of up to ``most`` rows below a number, the newest first."""
    rows, size = [], 0
    for row in connection.execute(_READ, (before, most)):
        rows.append(row)
        size += len(row[2]) if isinstance(row[2], bytes) else 0
        if size >= READ_BYTES:
            break
    return rows


def _check(keys: Sequence[bytes]) -> None:
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(f"a key has {KEY_BYTES} bytes")


def purged_rows(connection: sqlite3.Connection) -> dict[bytes, int]:
    """Return the number up to which the rows of a model are outdated, by tag."""
    purged = dict(connection.execute("SELECT tag, upto FROM purged").fetchall())
    if not all(isinstance(upto, int) for upto in purged.values()):
        raise sqlite3.DatabaseError("a purged row number is not a number")
    return purged


def is_valid(number: int, key: bytes, purged: Mapping[bytes, int]) -> bool:
    """Tell whether a row has a key, and its model has not been purged since."""
    return isinstance(key, bytes) and number > purged.get(key[:TAG_BYTES], 0)
