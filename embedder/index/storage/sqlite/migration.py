"""The table of collections in every version of the format, and its migration to the current one.

Version 1 had neither identities nor recorded models.
"""

from __future__ import annotations

import sqlite3
import uuid
import zlib
from collections.abc import Sequence

COLUMNS = (
    "id, uuid, name, metric, kind, width, model, sequence, count, "
    "identity, revision, digest, pooling, crc"
)
"""The columns of a collection; the checksum in the last one covers the others in this order."""

_VERSION_1_COLUMNS = "id, uuid, name, metric, kind, width, model, sequence, count, crc"
_SINCE_VERSION_2 = " identity TEXT, revision TEXT, digest TEXT, pooling TEXT,"

COLLECTIONS = f"""
CREATE TABLE collections(
    id INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL UNIQUE, name TEXT UNIQUE,
    metric TEXT NOT NULL, kind TEXT NOT NULL, width INTEGER, model TEXT,
    sequence INTEGER NOT NULL, count INTEGER NOT NULL,{_SINCE_VERSION_2} crc INTEGER NOT NULL);
"""

DELETED = """
CREATE TABLE deleted(at INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL UNIQUE);
"""
"""Identities of deleted collections: a shard that was down must not recreate them."""

_NAMESPACE = uuid.UUID("6f1c6a44-4f0b-4c38-9d0c-0f3a5b1f7d52")


def checksum(values: Sequence[object]) -> int:
    """Return the CRC-32 of all columns of a collection but the last."""
    return zlib.crc32(repr(tuple(values)).encode())


def version_1(schema: str) -> str:
    """Return the schema of version 1, given the current one."""
    return schema.replace(_SINCE_VERSION_2, "").replace(DELETED, "")


def stored_collections(
    db: sqlite3.Connection, condition: str, parameters: Sequence[object] = ()
) -> list[tuple[object, ...]]:
    """Return the `COLUMNS` of rows that meet an SQL condition, from a file of any version."""
    old = db.execute("PRAGMA user_version").fetchone()[0] == 1
    columns = _VERSION_1_COLUMNS if old else COLUMNS
    query = f"SELECT {columns} FROM collections WHERE {condition}"  # noqa: S608
    rows = db.execute(query, parameters).fetchall()
    return [_from_version_1(row) for row in rows] if old else rows


def migrate(db: sqlite3.Connection) -> None:
    """Migrate a file from version 1 to version 2 inside the caller's transaction."""
    rows = stored_collections(db, "1")
    # Not ALTER TABLE: each start compares the stored text of the CREATE statement.
    db.execute("DROP TABLE collections")
    db.execute(COLLECTIONS)
    places = ", ".join("?" for _ in COLUMNS.split(","))
    db.executemany(f"INSERT INTO collections({COLUMNS}) VALUES ({places})", rows)  # noqa: S608
    db.execute(DELETED)


def _from_version_1(values: Sequence[object]) -> tuple[object, ...]:
    """Return a row in version 2; a row that failed its checksum still fails it.

    The identity is derived from the name, so that all shards give a collection the same one.
    """
    *kept, crc = values
    name = values[2]
    identity = uuid.uuid5(_NAMESPACE, name).hex if isinstance(name, str) else kept[1]
    row = (*kept, identity, None, None, None)
    assert isinstance(crc, int), "the column takes nothing else"
    return (*row, checksum(row) ^ checksum(kept) ^ crc)
