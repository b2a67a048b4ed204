"""Reads use the host that takes writes; those that may be stale use any."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote

import pytest

from embedder.core.errors import StageUnavailable
from embedder.core.storage_errors import StorageReadOnly
from embedder.index.storage.stale_reads import stale_reads
from tests.unit.index.storage.postgres.postgres_server import PostgresServer
from tests.unit.waiting import LONG_S, eventually

pytest.importorskip("psycopg", reason="psycopg is not installed")

from embedder.index.storage.postgres.connection import limited_connection
from embedder.index.storage.postgres.connection.connecting import connect, location_of
from embedder.index.storage.postgres.connection.idle_connections import IdleConnections
from embedder.index.storage.postgres.connection.limited_connection import LimitedConnection
from tests.unit.index.storage.postgres.open_store import end_sessions, opened, put, stored


@pytest.fixture
def connections(url: str) -> Iterator[IdleConnections]:
    with closing(IdleConnections(url, location_of(url))) as connections:
        yield connections


def test_a_connection_is_used_again(connections: IdleConnections) -> None:
    assert connections.run(_process) == connections.run(_process)
    with connections.take() as one, connections.take() as other:
        assert one is not other


def test_a_connection_in_a_transaction_is_not_used_again(connections: IdleConnections) -> None:
    before = connections.run(_process)
    connections.run(lambda db: db.execute("BEGIN"))

    assert connections.run(_process) != before


def test_a_read_is_tried_once_more_if_its_connection_is_lost(
    connections: IdleConnections, url: str
) -> None:
    calls = 0

    def read(db: LimitedConnection) -> None:
        nonlocal calls
        calls += 1
        end_sessions(url)
        db.execute("SELECT 1")

    with pytest.raises(StageUnavailable):
        connections.run(read)
    assert calls == 2


def test_a_statement_that_the_server_stops_is_not_tried_again(
    connections: IdleConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited_connection, "STOP_S", LONG_S)
    calls = 0

    def read(db: LimitedConnection) -> None:
        nonlocal calls
        calls += 1
        db.statement_s = 0.05
        db.execute("SELECT pg_sleep(600)")

    with pytest.raises(StageUnavailable):
        connections.run(read)
    assert calls == 1


def test_closed_connections_are_not_kept(connections: IdleConnections) -> None:
    with connections.take() as db:
        connections.close()
        assert db.execute("SELECT 1").fetchall() == [(1,)]
    assert db.closed


@pytest.mark.long_store
def test_a_failover_moves_writes_and_reads_to_the_next_host(
    server: PostgresServer, url: str
) -> None:
    standby = server.make_standby()
    standby.start()
    database = url.rpartition("/")[2].partition("?")[0]
    both = url.partition("?")[0] + f"?host={quote(f'{server.folder},{standby.folder}', safe='')}"
    try:
        with opened(both) as store:
            put(store, "a").result(LONG_S)
            _wait_for_replay(both, standby.url(database))
            server.stop()
            try:
                with stale_reads():
                    assert stored(store)[0] == ["a"]
                with pytest.raises(StorageReadOnly):
                    stored(store)
                with pytest.raises(StorageReadOnly):
                    put(store, "b").result(LONG_S)
                standby.promote()
                put(store, "c").result(LONG_S)
                assert stored(store)[0] == ["a", "c"]
            finally:
                server.start()
    finally:
        standby.stop()


def _process(db: LimitedConnection) -> int:
    return db.info.backend_pid


def _wait_for_replay(url: str, standby: str) -> None:
    """Wait until a standby has what its source has committed."""
    with (
        closing(connect(url, writable=True)) as source,
        closing(connect(standby, writable=False)) as copy,
    ):
        ((written,),) = source.execute("SELECT pg_current_wal_lsn()").fetchall()
        reached = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        assert eventually(lambda: copy.execute(reached, (written,)).fetchall() == [(True,)])
