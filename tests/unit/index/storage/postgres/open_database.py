"""A connected database: transactions as a store runs them, and readers on connections of their own.

Imports psycopg, and so must only be imported where it is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import Any

import psycopg

from embedder.index.contract.points import Points, Spec
from embedder.index.storage.change_log import Changes
from embedder.index.storage.postgres.change_log import PostgresLog
from embedder.index.storage.postgres.connection.connecting import connect, location_of
from embedder.index.storage.postgres.connection.idle_connections import IdleConnections
from embedder.index.storage.postgres.reading import PostgresReader
from embedder.index.storage.postgres.schema import prepare
from embedder.index.storage.postgres.transaction import PostgresTransaction
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.row_encoding import encode

WRITER = 1
"""The number of the process that writes, which no row of writers has."""


class OpenDatabase:
    """One shard of a database, with tables."""

    def __init__(self, url: str, shard: int = 0, shards: int = 2) -> None:
        self.url = url
        self.shard = shard
        self.location = location_of(url)
        self.db = connect(url, writable=True)
        self.uuid = prepare(self.db, self.location, shards)
        self._connections = IdleConnections(url, self.location)
        self.reader = PostgresReader(self.location, shard, self._connections)
        self.log = PostgresLog(self.location, shard, self._connections)
        self.snapshot = self.reader.snapshot

    @contextmanager
    def transaction(self) -> Iterator[PostgresTransaction]:
        """Run a transaction that commits at the end."""
        with self.db.transaction():
            yield PostgresTransaction(self.db, self.shard, self.location, WRITER, Event())

    def create(self, name: str | None = "c", spec: Spec | None = None) -> CollectionRow:
        """Create a collection."""
        with self.transaction() as transaction:
            return transaction.insert_collection(name, spec or Spec())

    def find(self, name: str = "c") -> CollectionRow:
        """Return a collection that exists."""
        with self.snapshot() as snapshot:
            row = snapshot.find_collection(name)
        assert row is not None
        return row

    def put(self, points: Points, name: str = "c") -> list[int]:
        """Upsert points and return their pks."""
        with self.transaction() as transaction:
            row = transaction.find_collection(name)
            assert row is not None
            pks: list[int] = transaction.upsert(row, encode(points))[0].tolist()
        return pks

    def delete(self, pks: list[int], name: str = "c") -> int:
        """Delete points and return the sequence number."""
        with self.transaction() as transaction:
            row = transaction.find_collection(name)
            assert row is not None
            return transaction.delete(row, pks).sequence

    def changes(self, collection: int, after: int, limit: int) -> Changes | None:
        """Return a page of the log."""
        with self.log.pinned() as reader:
            return reader.changes(collection, after, limit)

    def execute(self, query: str, *parameters: object) -> psycopg.Cursor[Any]:
        """Run a statement that commits at once."""
        return self.db.execute(query, parameters)

    def renamed(self, row: CollectionRow, name: str | None) -> CollectionRow:
        """Rename a collection."""
        with self.transaction() as transaction:
            return transaction.update_collection(replace(row, name=name))

    def close(self) -> None:
        """Close the connections."""
        self.db.close()
        self._connections.close()
