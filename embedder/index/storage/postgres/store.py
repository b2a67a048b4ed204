"""The PostgreSQL store of one shard: several processes open it at the same time, and all write."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager

from embedder.index.storage.change_log import PinnedReader
from embedder.index.storage.postgres.change_log import PostgresLog
from embedder.index.storage.postgres.connection.idle_connections import IdleConnections
from embedder.index.storage.postgres.reading import PostgresReader
from embedder.index.storage.postgres.transaction import PostgresTransaction
from embedder.index.storage.postgres.writing.committer import Committer
from embedder.index.storage.postgres.writing.reclaiming import reclaim
from embedder.index.storage.postgres.writing.writing_session import WritingSession
from embedder.index.storage.posting_indexing import PostingIndexing
from embedder.index.storage.protocol import Effect, T, Transaction, Write
from embedder.index.storage.records import CollectionRow
from embedder.measurements.index import CommitStats

_LEAD = "SELECT pg_try_advisory_lock(1163216209, %s)"
"""The connection keeps the lock until it is closed; it may take a lock that it has again."""


class PostgresStore:
    """Implements `Store` for shard number ``shard`` of ``shards`` in the database at ``url``."""

    was_clean = True
    """The database recovers by itself."""

    def __init__(self, url: str, shard: int, shards: int) -> None:
        """Connect, and create or migrate the tables.

        Raises:
            ConfigurationError: the database cannot be used, or belongs to another service.
            NewerFormat: a later version has migrated the tables.
            StageUnavailable: no host answers.
            StorageReadOnly: every host that answers only reads.
        """
        session = WritingSession(url, shard, shards)
        self.uuid = session.uuid
        self._connections = IdleConnections(url, session.location)
        self.reader = PostgresReader(session.location, shard, self._connections)
        self.log = PostgresLog(session.location, shard, self._connections)
        self._session = session
        self._committer = Committer(session)
        self._posting_indexing = PostingIndexing(self.submit)

    @property
    def refusal(self) -> Exception | None:
        """Return why writes are refused until a restart, or None."""
        return self._committer.refusal

    @property
    def commits(self) -> CommitStats:
        """Return the statistics of the commits since the store was opened."""
        return self._committer.commits

    @property
    def connections(self) -> Mapping[str, int]:
        """Return the number of connections for reads, by state."""
        return self._connections.counts

    def collections(self) -> list[CollectionRow]:
        """Return all collections with a name that clients can use."""
        return self.log.heads(None)[1]

    def submit(self, write: Write[T], *, frees: bool = False) -> Future[T]:
        """Queue a write; see `Store.submit`."""
        return self._committer.submit(write)

    def index_postings(self) -> None:
        """Begin to index stored rows that have no index yet; see `Store.index_postings`."""
        self._posting_indexing.start()

    def pinned(self) -> AbstractContextManager[PinnedReader]:
        """Yield a reader of one moment; see `Store.pinned`."""
        return self.log.pinned()

    def run_exclusively(self, read: Callable[[], T]) -> T:
        """Run ``read`` in the writer thread, between two writes."""

        def write(_: Transaction) -> Effect[T]:
            result = read()
            return lambda: result

        return self.submit(write).result()

    def reclaim(self, spared: Collection[int]) -> None:
        """Start to delete the rows of collections without a name; see `Store.reclaim`."""
        reclaim(self._committer, self._session.has_unnamed, spared)

    def history(self) -> str:
        """Return the history of the rows now; see `Store.history`."""

        def write(rows: Transaction) -> Effect[str]:
            history = rows.history
            return lambda: history

        return self.submit(write).result()

    def leads(self) -> bool:
        """Return whether this process leads the shard; see `Store.leads`."""

        def write(rows: Transaction) -> Effect[bool]:
            assert isinstance(rows, PostgresTransaction)
            ((leads,),) = rows.rows(_LEAD, self._session.shard)
            return lambda: bool(leads)

        return self.submit(write).result()

    def close(self) -> None:
        """Finish the queued writes and close the connections."""
        self._committer.close()
        self._connections.close()
        self._session.close()
