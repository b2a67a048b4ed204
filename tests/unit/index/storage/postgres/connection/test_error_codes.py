"""What the server reports: lost, full, read-only and damaged are told apart from other errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from embedder.core.errors import ConfigurationError, EmbedderError, StageUnavailable
from embedder.core.storage_errors import StorageDamaged, StorageFull, StorageReadOnly
from tests.unit.index.storage.postgres.points import named
from tests.unit.index.storage.postgres.postgres_server import PostgresServer

pytest.importorskip("psycopg", reason="psycopg is not installed")

import psycopg

from embedder.index.storage.postgres.connection.connecting import connect
from embedder.index.storage.postgres.connection.error_codes import (
    database_error,
    is_conflict,
    translate_database_errors,
)

if TYPE_CHECKING:
    from tests.unit.index.storage.postgres.open_database import OpenDatabase


def raised_by(database: OpenDatabase, statement: str) -> Any:
    """Return the error of a statement."""
    with pytest.raises(psycopg.Error) as raised:
        database.execute(statement)
    return raised.value


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("08006", StageUnavailable),
        ("57P01", StageUnavailable),
        ("57P03", StageUnavailable),
        ("53300", StageUnavailable),
        ("58030", StageUnavailable),
        ("53100", StorageFull),
        ("25006", StorageReadOnly),
        ("XX001", StorageDamaged),
        ("XX002", StorageDamaged),
        ("58P01", StorageDamaged),
        ("42P01", StorageDamaged),
        ("57014", StageUnavailable),
        ("42501", ConfigurationError),
    ],
)
def test_a_listed_code_is_an_error_of_the_database(
    database: OpenDatabase, code: str, kind: type[EmbedderError]
) -> None:
    raised = raised_by(
        database, f"DO $$ BEGIN RAISE 'seen' USING ERRCODE = '{code}', DETAIL = 'secret'; END $$"
    )

    error = database_error(raised, database.location)

    assert type(error) is kind
    assert "secret" not in repr(error.args)
    assert not is_conflict(raised)
    with pytest.raises(kind), translate_database_errors(database.location):
        raise raised


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03", "23505"])
def test_a_conflict_is_repeated(database: OpenDatabase, code: str) -> None:
    raised = raised_by(database, f"DO $$ BEGIN RAISE 'seen' USING ERRCODE = '{code}'; END $$")

    assert is_conflict(raised)
    assert database_error(raised, database.location) is None


@pytest.mark.parametrize(
    "statement", ["SELECT 1 / 0", "SELECT nonsense", "SELECT 'x'::jsonb", "SELECT pg_sleep('x')"]
)
def test_any_other_error_is_about_the_call(database: OpenDatabase, statement: str) -> None:
    raised = raised_by(database, statement)

    assert database_error(raised, database.location) is None
    with pytest.raises(type(raised)), translate_database_errors(database.location):
        raise raised


@pytest.mark.parametrize("error", [ValueError(), MemoryError(), OSError(5), psycopg.DataError()])
def test_an_error_of_this_process_is_none_of_the_database(error: Exception) -> None:
    assert database_error(error, "here") is None
    assert not is_conflict(error)


def test_a_session_that_is_ended_is_a_lost_connection(database: OpenDatabase, url: str) -> None:
    database.create()
    with connect(url, writable=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (database.db.info.backend_pid,))

    for _ in range(2):
        with pytest.raises(StageUnavailable), translate_database_errors(database.location):
            database.put(named("a"))


def test_a_killed_server_is_a_lost_connection(
    database: OpenDatabase, server: PostgresServer, url: str
) -> None:
    database.create()
    database.put(named("a"))
    server.stop()
    try:
        with pytest.raises(StageUnavailable), translate_database_errors(database.location):
            database.put(named("b"))
    finally:
        server.start()

    with connect(url, writable=True) as db:
        assert db.execute("SELECT id FROM embedder.points").fetchall() == [(b"a",)]


def test_a_write_to_a_database_that_only_reads_is_refused(database: OpenDatabase) -> None:
    database.create()
    database.execute("SET default_transaction_read_only = on")

    with pytest.raises(StorageReadOnly), translate_database_errors(database.location):
        database.put(named("a"))


def test_a_damaged_page_is_damage(database: OpenDatabase, server: PostgresServer) -> None:
    database.create()
    database.put(named("a"))
    ((path,),) = database.execute("SELECT pg_relation_filepath('embedder.points')").fetchall()
    database.execute("CHECKPOINT")
    url = database.url
    server.stop("fast")
    file = server.folder / "data" / path
    page = bytearray(file.read_bytes())
    page[-1] ^= 1
    file.write_bytes(page)
    server.start()

    with (
        connect(url, writable=False) as db,
        pytest.raises(StorageDamaged, match="stored data of the index is damaged"),
        translate_database_errors(database.location),
    ):
        db.execute("SELECT * FROM embedder.points")
