"""Opens stores over one database, and runs writes of one call.

Imports psycopg, and so must only be imported where it is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import psycopg

from embedder.index.contract.points import Spec
from embedder.index.storage.postgres.store import PostgresStore
from embedder.index.storage.protocol import Effect, Transaction
from embedder.index.storage.row_encoding import encode
from tests.unit.index.storage.contract.stores import commit
from tests.unit.index.storage.postgres.points import named


@contextmanager
def opened(url: str, *, creating: bool = True) -> Iterator[PostgresStore]:
    """Yield an open store of one shard, by default with a new collection ``c``."""
    store = PostgresStore(url, 0, 1)
    if creating:
        commit(store, lambda rows: rows.insert_collection("c", Spec()))
    try:
        yield store
    finally:
        store.close()


def put(store: PostgresStore, *ids: str) -> Future[int]:
    """Queue a write of points to ``c``; its result is its sequence number."""

    def write(rows: Transaction) -> Effect[int]:
        row = rows.find_collection("c")
        assert row is not None
        sequence = rows.upsert(row, encode(named(*ids)))[1].sequence
        return lambda: sequence

    return store.submit(write)


def stored(store: PostgresStore) -> tuple[list[str], int]:
    """Return the ids in ``c`` in the order of their pks, and its sequence number."""
    with store.reader.snapshot() as rows:
        row = rows.find_collection("c")
        assert row is not None
        return [name for chunk in rows.scan(row) for name in chunk.ids], row.sequence


def end_sessions(url: str) -> None:
    """End all other connections to a database, as an administrator may."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def commits(url: str) -> int:
    """Return how often the one process that writes to a database has committed."""
    with psycopg.connect(url) as db:
        ((counted,),) = db.execute("SELECT commits FROM embedder.writers").fetchall()
    return int(counted)
