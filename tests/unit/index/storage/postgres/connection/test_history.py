"""A server that does not tell its timeline has another history after each start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed")

from embedder.index.storage.postgres.connection.connecting import connect, location_of
from embedder.index.storage.postgres.connection.history import read_history
from embedder.index.storage.postgres.store import PostgresStore
from tests.unit.index.storage.postgres.postgres_server import PostgresServer

ROLE = "of_a_managed_server"
FUNCTIONS = ("pg_control_system()", "pg_walfile_name(pg_lsn)", "pg_current_wal_lsn()")


@pytest.fixture
def role(server: PostgresServer) -> Iterator[str]:
    """Yield a role that is no administrator."""
    server.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD 'hunter2'")
    yield ROLE
    server.execute(f"DROP ROLE {ROLE}")


@pytest.fixture
def url(server: PostgresServer, role: str) -> Iterator[str]:
    """Yield the URL of an empty database that belongs to the role."""
    own = server.create_database(f"ENCODING 'UTF8' OWNER {role}")
    name = own.rpartition("@/")[2].partition("?")[0]
    yield server.url(name, role=role, password="hunter2")
    server.drop_database(own)


def _histories(url: str) -> list[str]:
    """Return the history as a store and as a new connection name it."""
    store = PostgresStore(url, 0, 1)
    with closing(store), closing(connect(url, writable=True)) as db:
        return [store.history(), read_history(db, location_of(url))]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_role_that_may_not_ask_for_the_timeline_uses_the_start_of_the_server(
    url: str, server: PostgresServer, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    import psycopg

    told = _histories(url)
    assert told[0] == told[1]
    assert not caplog.records
    name = url.rpartition("@/")[2].partition("?")[0]
    with psycopg.connect(server.url(name), autocommit=True) as db:
        db.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")

    before = [*_histories(url), *_histories(url)]
    assert len({told[0], *before}) == 2
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    with server.down():
        pass
    assert len({told[0], before[0], *_histories(url)}) == 3


def test_a_table_from_a_backup_has_another_history(url: str) -> None:
    before = _histories(url)
    with closing(connect(url, writable=True)) as db:
        db.execute("DROP SCHEMA embedder CASCADE")

    assert len({*before, *_histories(url)}) == 2
