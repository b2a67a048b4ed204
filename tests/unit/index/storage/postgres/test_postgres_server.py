"""The server of the tests keeps what was committed when it is killed."""

from __future__ import annotations

import pytest

from tests.unit.index.storage.postgres.postgres_server import PostgresServer


def test_each_database_is_empty(server: PostgresServer) -> None:
    import psycopg

    for _ in range(2):
        with psycopg.connect(server.create_database()) as db:
            db.execute("CREATE TABLE notes(text bytea)")


def test_committed_rows_survive_an_immediate_stop(server: PostgresServer, url: str) -> None:
    import psycopg

    with psycopg.connect(url) as db:
        db.execute("CREATE TABLE notes(text bytea)")
        db.execute("INSERT INTO notes VALUES (%s)", (b"\0",))
    server.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    server.start()

    with psycopg.connect(url) as db:
        assert db.execute("SELECT text FROM notes").fetchall() == [(b"\0",)]
