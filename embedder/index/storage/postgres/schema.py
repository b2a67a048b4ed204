"""The tables of a service in PostgreSQL, and their versions.

All shards share the tables of one schema of PostgreSQL, so that a backup of the database has them
at one moment and one transaction migrates them. Numbers of collections are unique in the database,
hence only collections name their shard. The name of the schema is fixed, and every statement writes
it out, so that no setting of the role or the database changes which tables it means.

Strings of clients are bytea in UTF-8, because a text cannot contain U+0000 and its order depends on
the database. The index of bytea is in the order of code points.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from embedder.core.errors import ConfigurationError
from embedder.core.storage_errors import NewerFormat, StorageDamaged
from embedder.index.storage.postgres.rows.sparse_rows import SPARSE
from embedder.index.storage.postgres.rows.text_rows import TEXTS

if TYPE_CHECKING:
    from psycopg import Connection

SCHEMA_VERSION = 3

# writers: how many transactions each process has committed; only its latest session may commit.
# name: null while a collection is restored, and after it was deleted.
# next_pk: all pks from here on are unused. A pk is never used again.
# restorer: the process that fills the collection until it gets its name.
# log_start: deletions up to this sequence number may have been removed from the log.
# No foreign keys: each row of a point would check that of its collection, which is locked anyway.
# vectors: apart from points, so that filters and pages read few bytes per point; not compressed,
# because that costs time and saves nothing.
_CREATE = f"""
CREATE SCHEMA embedder;
CREATE TABLE embedder.meta(version integer NOT NULL, uuid text NOT NULL, shards integer NOT NULL);
CREATE TABLE embedder.shards(number integer PRIMARY KEY);
CREATE TABLE embedder.writers(
    id bigint PRIMARY KEY, session bigint NOT NULL, commits bigint NOT NULL,
    used_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
CREATE TABLE embedder.collections(
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, shard integer NOT NULL, uuid text NOT NULL,
    name bytea, metric text NOT NULL, kind text NOT NULL, width integer, model bytea,
    sequence bigint NOT NULL, count bigint NOT NULL, identity bytea NOT NULL, revision bytea,
    digest bytea, pooling bytea, crc bigint NOT NULL, next_pk bigint NOT NULL DEFAULT 1,
    log_start bigint NOT NULL DEFAULT 0, restorer bigint, UNIQUE (shard, name)
) WITH (fillfactor = 50);
CREATE TABLE embedder.deleted(
    at bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, shard integer NOT NULL,
    identity bytea NOT NULL, UNIQUE (shard, identity));
CREATE TABLE embedder.points(
    collection bigint NOT NULL, pk bigint NOT NULL, id bytea NOT NULL, seq bigint NOT NULL,
    crc bigint NOT NULL, text bytea, metadata text NOT NULL, fields jsonb,
    PRIMARY KEY (collection, pk) INCLUDE (seq), UNIQUE (collection, id));
CREATE INDEX points_by_seq ON embedder.points(collection, seq, pk);
CREATE TABLE embedder.vectors(
    collection bigint NOT NULL, pk bigint NOT NULL, crc bigint NOT NULL, vector bytea NOT NULL,
    PRIMARY KEY (collection, pk));
ALTER TABLE embedder.vectors ALTER COLUMN vector SET STORAGE EXTERNAL;
CREATE TABLE embedder.deletions(
    collection bigint NOT NULL, seq bigint NOT NULL, pk bigint NOT NULL,
    PRIMARY KEY (collection, seq, pk));
{TEXTS}{SPARSE}
"""

_MIGRATIONS: dict[int, str] = {1: TEXTS, 2: SPARSE}
"""For each earlier version the statements that lead to the next one."""

_MIGRATION_LOCK = 0x45564958
"""The advisory lock of the process that creates or migrates the tables."""

_TABLES = "SELECT to_regnamespace('embedder') IS NOT NULL, to_regclass('embedder.meta') IS NOT NULL"


def prepare(db: Connection[Any], location: str, shards: int) -> str:
    """Create or migrate the tables inside a transaction of their own; return the database's uuid.

    Several processes may do this at once.

    Raises:
        ConfigurationError: another program uses the schema, or the service has other shards.
        NewerFormat: a later version has migrated the tables.
        StorageDamaged: the version is missing.
    """
    with db.transaction():
        db.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        has_schema, is_ours = _row(db, _TABLES, location)
        if not has_schema:
            _create(db, shards)
        elif not is_ours:
            raise ConfigurationError(
                f"{location} has a schema 'embedder' of another program: give the index a database "
                "of its own (index.url)"
            )
        version, identity, stored = _row(
            db, "SELECT version, uuid, shards FROM embedder.meta", location
        )
        if stored != shards:
            raise ConfigurationError(
                f"{location} holds an index of {stored} shards, and index.shards is {shards}: set "
                f"index.shards to {stored}, or give the index a database of its own (index.url)"
            )
        check_version(version, location)
        for earlier in range(version, SCHEMA_VERSION):
            db.execute(_MIGRATIONS[earlier])
            db.execute("UPDATE embedder.meta SET version = %s", (earlier + 1,))
    return str(identity)


def check_version(version: int, location: str) -> None:
    """Refuse tables that a later version has migrated, also while this one runs.

    Raises:
        NewerFormat: the version is above `SCHEMA_VERSION`.
    """
    if version > SCHEMA_VERSION:
        raise NewerFormat(location, version, SCHEMA_VERSION)


def _create(db: Connection[Any], shards: int) -> None:
    db.execute(_CREATE)
    values = (SCHEMA_VERSION, uuid.uuid4().hex, shards)
    db.execute("INSERT INTO embedder.meta VALUES (%s, %s, %s)", values)
    db.execute("INSERT INTO embedder.shards SELECT generate_series(0, %s - 1)", (shards,))


def _row(db: Connection[Any], query: str, location: str) -> Any:
    row = db.execute(query).fetchone()
    if row is None:
        raise StorageDamaged(location, "the table embedder.meta is empty")
    return row
