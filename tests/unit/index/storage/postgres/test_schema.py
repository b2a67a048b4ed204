"""Tables are created once, migrated forwards, and never mixed with those of others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from embedder.core.errors import ConfigurationError
from embedder.core.storage_errors import NewerFormat, StorageDamaged
from embedder.index.storage.postgres import schema
from embedder.index.storage.postgres.schema import SCHEMA_VERSION, prepare
from tests.unit.index.storage.postgres.points import named

if TYPE_CHECKING:
    from tests.unit.index.storage.postgres.open_database import OpenDatabase


def test_many_processes_may_create_the_tables(url: str) -> None:
    from embedder.index.storage.postgres.connection.connecting import connect

    def create(_: int) -> str:
        with closing(connect(url, writable=True)) as db:
            return prepare(db, "here", 3)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(8)))) == 1


def test_a_newer_format_is_refused(database: OpenDatabase) -> None:
    database.execute("UPDATE embedder.meta SET version = 9")

    with pytest.raises(NewerFormat, match="format 9; this version reads formats up to 3"):
        prepare(database.db, database.location, 2)


def test_an_older_format_is_migrated_with_its_points(
    database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.create()
    database.put(named("a"))
    following = SCHEMA_VERSION + 1
    monkeypatch.setattr(schema, "SCHEMA_VERSION", following)
    monkeypatch.setattr(
        schema, "_MIGRATIONS", {SCHEMA_VERSION: "ALTER TABLE embedder.points ADD more integer"}
    )

    for _ in range(2):
        assert prepare(database.db, database.location, 2) == database.uuid

    assert database.execute("SELECT version FROM embedder.meta").fetchall() == [(following,)]
    assert database.execute("SELECT id, more FROM embedder.points").fetchall() == [(b"a", None)]
    database.put(named("b"))


def test_a_failed_migration_leaves_the_version(
    database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    monkeypatch.setattr(schema, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(schema, "_MIGRATIONS", {SCHEMA_VERSION: "DROP TABLE embedder.points; no"})

    with pytest.raises(psycopg.errors.SyntaxError):
        prepare(database.db, database.location, 2)

    assert database.execute("SELECT count(*) FROM embedder.points").fetchall() == [(0,)]


def test_another_number_of_shards_is_refused(database: OpenDatabase) -> None:
    with pytest.raises(ConfigurationError, match=r"index of 2 shards, and index\.shards is 4"):
        prepare(database.db, database.location, 4)


def test_a_schema_of_another_program_is_refused(url: str) -> None:
    from embedder.index.storage.postgres.connection.connecting import connect

    with closing(connect(url, writable=True)) as db:
        db.execute("CREATE SCHEMA embedder")
        with pytest.raises(ConfigurationError, match="here has a schema 'embedder' of another"):
            prepare(db, "here", 1)


def test_a_missing_version_is_damage(database: OpenDatabase) -> None:
    database.execute("DELETE FROM embedder.meta")

    with pytest.raises(StorageDamaged):
        prepare(database.db, database.location, 2)


def test_vectors_are_not_compressed(database: OpenDatabase) -> None:
    database.create()
    query = "SELECT attstorage FROM pg_attribute WHERE attrelid = 'embedder.vectors'::regclass"

    assert database.execute(f"{query} AND attname = 'vector'").fetchall() == [("e",)]
