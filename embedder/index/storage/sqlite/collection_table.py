"""The tables of collections and of deleted identities: their rows, and their migration.

Version 1 had neither identities nor recorded models.
"""

from __future__ import annotations

import sqlite3
import uuid
import zlib
from collections.abc import Sequence

from embedder.core.storage_errors import StorageDamaged
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.limits import MAX_DELETED
from embedder.index.contract.points import Metric
from embedder.index.storage.records import CollectionRow

FILE_NAME = "truth.db"

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


def as_collection(values: Sequence[object]) -> CollectionRow:
    """Return the collection of a table row, given its `COLUMNS` in order.

    Raises:
        StorageDamaged: the row fails its checksum.
    """
    if checksum(values[:-1]) != values[-1]:
        raise StorageDamaged(FILE_NAME, f"collection {values[2]!r} fails its checksum")
    number, identity, name, metric, kind, *rest = values[:-1]
    return CollectionRow(number, identity, name, Metric(metric), IndexKind(kind), *rest)  # type: ignore[arg-type] # the checksum has proved the types


def find_collection(db: sqlite3.Connection, name: str) -> CollectionRow | None:
    """Return the collection of this name, or None.

    Raises:
        StorageDamaged: its row fails its checksum.
    """
    query = f"SELECT {COLUMNS} FROM collections WHERE name = ?"  # noqa: S608
    row = db.execute(query, (name,)).fetchone()
    return None if row is None else as_collection(row)


def update_collection(db: sqlite3.Connection, row: CollectionRow) -> CollectionRow:
    """Store all columns of a collection with their checksum, and return the row."""
    values = [
        *(row.id, row.uuid, row.name, row.metric.value, row.kind.value),
        *(row.width, row.model, row.sequence, row.count),
        *(row.identity, row.revision, row.digest, row.pooling),
    ]
    db.execute(
        "UPDATE collections SET name = ?, metric = ?, kind = ?, width = ?, model = ?, "
        "sequence = ?, count = ?, identity = ?, revision = ?, digest = ?, pooling = ?, crc = ? "
        "WHERE id = ?",
        (*values[2:], checksum(values), row.id),
    )
    return row


def remember_deleted(db: sqlite3.Connection, identity: str) -> None:
    """Record the identity of a deleted collection; keep the latest `MAX_DELETED` of them."""
    db.execute("INSERT OR IGNORE INTO deleted(identity) VALUES (?)", (identity,))
    latest = "SELECT max(at) FROM deleted"
    db.execute(f"DELETE FROM deleted WHERE at <= ({latest}) - ?", (MAX_DELETED,))  # noqa: S608


def is_deleted(db: sqlite3.Connection, identity: str) -> bool:
    """Say whether the collection of this identity is recorded as deleted."""
    row = db.execute("SELECT 1 FROM deleted WHERE identity = ?", (identity,)).fetchone()
    return row is not None


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


def migrate_to_2(db: sqlite3.Connection) -> None:
    """Migrate a file of version 1 inside the caller's transaction."""
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
