"""Read and check the rows of a database without writing, also while services use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from psycopg import IsolationLevel

from embedder.core.errors import ConfigurationError
from embedder.core.storage_errors import StorageDamaged
from embedder.index.storage.inspection import CheckedCollection, Inspection
from embedder.index.storage.postgres.collection_table import as_collection, decoded
from embedder.index.storage.postgres.connection.connecting import connect, location_of
from embedder.index.storage.postgres.connection.error_codes import translate_database_errors
from embedder.index.storage.postgres.connection.limited_connection import LimitedConnection
from embedder.index.storage.postgres.schema import check_version
from embedder.index.storage.postgres.snapshot import NAMED, PostgresSnapshot

_EXISTS = "SELECT to_regclass('embedder.meta') IS NOT NULL"
_META = "SELECT version, shards FROM embedder.meta"
_VECTORS = "SELECT count(*) FROM embedder.vectors WHERE collection = %s"


def find_shards(url: str) -> int | None:
    """Return the number of shards of the index in a database; None if there is no index.

    Raises:
        ConfigurationError: the database cannot be used.
        StageUnavailable: no host answers.
    """
    with _connected(url) as db:
        ((exists,),) = db.execute(_EXISTS).fetchall()
        return int(db.execute(_META).fetchall()[0][1]) if exists else None


@contextmanager
def read_database(url: str, shard: int) -> Iterator[PostgresSnapshot]:
    """Yield the rows of a shard at one moment.

    Raises:
        ConfigurationError: the database cannot be used, or has no index.
        NewerFormat: a later version has migrated the tables.
        StageUnavailable: no host answers.
        StorageDamaged: the database reports damage.
    """
    location = location_of(url)
    with _connected(url) as db, db.transaction():
        ((exists,),) = db.execute(_EXISTS).fetchall()
        if not exists:
            raise ConfigurationError(f"{location} has no index")
        # Earlier versions have the same tables of points.
        ((version, _),) = db.execute(_META).fetchall()
        check_version(version, location)
        yield PostgresSnapshot(db, shard, location)


def inspect(url: str, shard: int) -> Inspection:
    """Compare every row of a shard with its checksum, and the numbers of points and vectors.

    Raises:
        ConfigurationError: as `read_database`.
        StageUnavailable: no host answers.
    """
    try:
        with read_database(url, shard) as rows:
            found = rows.rows(NAMED, shard)
            return Inspection(None, [_checked(rows, values) for values in found])
    except StorageDamaged as error:
        return Inspection(error.problem, [])


def _checked(rows: PostgresSnapshot, values: tuple[Any, ...]) -> CheckedCollection:
    name, count = decoded(values[2]), int(values[8])
    try:
        # With a savepoint, because an error of the database ends the transaction.
        with translate_database_errors(rows.location), rows.db.transaction():
            row = as_collection(values, rows.location)
            for _ in rows.scan(row):
                pass
            ((vectors,),) = rows.rows(_VECTORS, row.id)
    except StorageDamaged as error:
        return CheckedCollection(name, count, error.problem)
    problem = None if vectors == count else f"{vectors} vectors of {count} points are there"
    return CheckedCollection(name, count, problem)


@contextmanager
def _connected(url: str) -> Iterator[LimitedConnection]:
    location = location_of(url)
    with translate_database_errors(location), closing(connect(url, writable=False)) as db:
        db.isolation_level, db.read_only = IsolationLevel.REPEATABLE_READ, True
        yield db
