"""A store over one database without retries, which commits each write alone.

It lets the transactions, snapshots and readers of PostgreSQL pass the tests of the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from embedder.core.cancellation import Cancelled, current_cancellation
from embedder.core.errors import Unavailable
from embedder.index.storage.postgres.reading import PostgresReader
from embedder.index.storage.postgres.reclaiming import purge
from embedder.index.storage.protocol import Effect, Transaction, Write
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.staging import is_staged_name
from tests.unit.index.storage.postgres.open_database import OpenDatabase

T = TypeVar("T")


class PlainStore:
    """Implements `Store` with one thread that writes."""

    refusal = None
    was_clean = True
    log = None

    def __init__(self, url: str) -> None:
        self._database = OpenDatabase(url)
        self._thread = ThreadPoolExecutor(1)
        self._closed = False
        self.uuid = self._database.uuid
        self.reader: PostgresReader = self._database.reader

    def collections(self) -> list[CollectionRow]:
        """Return all collections with a name that clients can use."""
        with self.reader.snapshot() as snapshot:
            return [row for row in snapshot.collections() if not is_staged_name(row.name)]

    def submit(self, write: Write[T], *, frees: bool = False) -> Future[T]:
        """Queue a write."""
        if self._closed:
            raise Unavailable("the index is closed")
        cancellation = current_cancellation()

        def run() -> T:
            if cancellation is not None and cancellation.requested:
                raise Cancelled
            with self._database.transaction() as transaction:
                effect = write(transaction)
            return effect()

        return self._thread.submit(run)

    def run_exclusively(self, read: Callable[[], T]) -> T:
        """Run ``read`` between two writes."""
        return self._thread.submit(read).result()

    def reclaim(self, spared: Collection[int]) -> None:
        """Delete collections without a name."""

        def step(rows: Transaction) -> Effect[None]:
            assert rows is not None
            with self._database.transaction() as transaction:
                more = purge(transaction, spared)
            return lambda: self.reclaim(spared) if more else None

        self.submit(step)

    def close(self) -> None:
        """Finish the queued writes and close the connections."""
        self._closed = True
        self._thread.shutdown()
        self._database.close()
