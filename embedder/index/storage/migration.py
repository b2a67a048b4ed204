"""Rows of collections as older formats wrote them, brought to the present format.

Version 1 had neither identities nor recorded models. Knows nothing of how files are opened.
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
"""The columns of a collection in the order in which its checksum covers them."""

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
"""Identities of deleted collections: a shard that was away must not bring them back."""

_NAMESPACE = uuid.UUID("6f1c6a44-4f0b-4c38-9d0c-0f3a5b1f7d52")


def checksum(values: Sequence[object]) -> int:
    """Return the CRC-32 of the columns of a collection but the last one, which holds it."""
    return zlib.crc32(repr(tuple(values)).encode())


def version_1(schema: str) -> str:
    """Return the statements of the present schema as version 1 had them."""
    return schema.replace(_SINCE_VERSION_2, "").replace(DELETED, "")


def stored_collections(
    db: sqlite3.Connection, condition: str, parameters: Sequence[object] = ()
) -> list[tuple[object, ...]]:
    """Return rows of `COLUMNS` from a file of any version that meet an SQL condition of our own."""
    old = db.execute("PRAGMA user_version").fetchone()[0] == 1
    columns = _VERSION_1_COLUMNS if old else COLUMNS
    query = f"SELECT {columns} FROM collections WHERE {condition}"  # noqa: S608
    rows = db.execute(query, parameters).fetchall()
    return [_from_version_1(row) for row in rows] if old else rows


def migrate(db: sqlite3.Connection) -> None:
    """Bring a file of version 1 to version 2, in a transaction that the caller ends."""
    rows = stored_collections(db, "1")
    # Made anew, and not altered: the text of its statement is checked at every start.
    db.execute("DROP TABLE collections")
    db.execute(COLLECTIONS)
    places = ", ".join("?" for _ in COLUMNS.split(","))
    db.executemany(f"INSERT INTO collections({COLUMNS}) VALUES ({places})", rows)  # noqa: S608
    db.execute(DELETED)


def _from_version_1(values: Sequence[object]) -> tuple[object, ...]:
    """Return a row as version 2 has it; one that fails its checksum still fails it.

    All shards give a collection the same identity, because it follows from its name.
    """
    *kept, crc = values
    name = values[2]
    identity = uuid.uuid5(_NAMESPACE, name).hex if isinstance(name, str) else kept[1]
    row = (*kept, identity, None, None, None)
    assert isinstance(crc, int), "the column takes nothing else"
    return (*row, checksum(row) ^ checksum(kept) ^ crc)
