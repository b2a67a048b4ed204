"""The one connection of a store that writes; it is opened again after it was lost.

A connection that is lost during COMMIT leaves open whether the server has committed. Each process
has a row in ``writers`` with the number of its commits, which tells it: locking the row waits for
the end of the lost transaction. A server that hung may still have to read that COMMIT; it then
refuses it, because the row names a later session. PostgreSQL's own numbers of transactions would
not tell the outcome, because a server that stops before it has written one to disk assigns it
again.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from embedder.core.errors import EmbedderError, StageUnavailable
from embedder.core.storage_errors import StorageReadOnly
from embedder.index.storage.failpoints import reach
from embedder.index.storage.postgres.connection.connecting import connect, location_of
from embedder.index.storage.postgres.connection.error_codes import STAGE, translate_database_errors
from embedder.index.storage.postgres.connection.history import read_history
from embedder.index.storage.postgres.connection.limited_connection import LimitedConnection
from embedder.index.storage.postgres.schema import prepare
from embedder.index.storage.postgres.transaction import PostgresTransaction
from embedder.index.storage.postgres.writing.upkeep import Upkeep

LOCK_MS, IDLE_MS = 5000, 10_000
"""Milliseconds that a write waits for one of another process, and after which the server ends the
transaction of a process that hangs.
"""

_LIMITS = """
SELECT set_config('lock_timeout', %s, false),
    set_config('idle_in_transaction_session_timeout', %s, false)
"""

_REGISTER = """
INSERT INTO embedder.writers(id, session, commits) VALUES (%s, %s, 0)
ON CONFLICT (id) DO UPDATE SET session = excluded.session, used_at = now() RETURNING commits
"""
_COUNT = """
UPDATE embedder.writers SET commits = CASE session WHEN %s THEN commits + 1 END, used_at = now()
WHERE id = %s
"""
"""In an earlier session, the number is null, which the table refuses."""
_FORGET = "DELETE FROM embedder.writers WHERE used_at < now() - interval '30 days'"


class OutcomeUnknown(Exception):
    """The connection was lost during COMMIT: `WritingSession.has_committed` tells the outcome."""


class WritingSession:
    """Runs the transactions of one shard, one at a time; ``uuid`` is that of the database.

    Raises:
        ConfigurationError: the database cannot be used, or belongs to another service.
        NewerFormat: a later version has migrated the tables.
        StageUnavailable: no host answers.
        StorageReadOnly: every host that answers only reads.
    """

    def __init__(self, url: str, shard: int, shards: int) -> None:
        self.location = location_of(url)
        self.shard = shard
        self.writer = secrets.randbits(62)
        """Tells this process from the others that write."""
        self.upkeep = Upkeep()
        self.has_unnamed = Event()
        """Whether collections without a name may be there; at first, of an earlier process."""
        self.has_unnamed.set()
        self.uuid = ""
        self._url = url
        self._shards = shards
        self._registered = 0
        """How many commits of this process the database has counted."""
        self._commits = 0
        """The same, before the last transaction."""
        self._session = 0
        self._db = self._connect()

    @contextmanager
    def transaction(self) -> Iterator[PostgresTransaction]:
        """Yield the rows in a transaction that the end of the block commits, and an error undoes.

        Raises:
            OutcomeUnknown: the connection was lost during COMMIT.
            StageUnavailable: the connection was lost before, so that nothing is committed.
            psycopg.Error: the database refuses a statement.
        """
        db = self._open()
        self._commits = self._registered  # also if an earlier outcome was left unknown
        db.is_committing = False
        rows = PostgresTransaction(db, self.shard, self.location, self.writer, self.has_unnamed)
        try:
            # In a pipeline a statement is waited for only where its rows are read.
            with translate_database_errors(self.location), db.pipeline():
                db.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                yield rows
                reach("commit.before")
                db.execute(_COUNT, (self._session, self.writer))
                db.is_committing = True
                db.execute("COMMIT")
        except BaseException as error:
            self._roll_back(db)
            if db.is_committing and db.closed:
                raise OutcomeUnknown from error
            if isinstance(error, StorageReadOnly):
                db.close()
                raise StageUnavailable(
                    STAGE, f"{self.location} takes no writes any more"
                ) from error
            raise
        self._registered += 1
        self.upkeep.count(rows.stored, rows.deleted)
        reach("commit.after")

    def has_committed(self) -> bool:
        """Say whether the transaction of unknown outcome is committed.

        Raises:
            StageUnavailable, StorageReadOnly: the database does not tell it at present.
        """
        self._open()
        return self._registered > self._commits

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def _open(self) -> LimitedConnection:
        if self._db.closed:
            self._db = self._connect()
        return self._db

    def _connect(self) -> LimitedConnection:
        db, session = connect(self._url, writable=True), secrets.randbits(62)
        try:
            with translate_database_errors(self.location):
                # A migration changes all rows, and other processes wait for it.
                db.statement_s = math.inf
                uuid = prepare(db, self.location, self._shards)
                del db.statement_s  # that of all connections
                if self.uuid not in ("", uuid):
                    raise StageUnavailable(STAGE, f"{self.location} is now another database")
                db.history = read_history(db, self.location)
                db.execute(_LIMITS, (str(LOCK_MS), str(IDLE_MS)))
                db.execute(_FORGET)
                ((registered,),) = db.execute(_REGISTER, (self.writer, session)).fetchall()
        except BaseException:
            db.close()
            raise
        self.uuid, self._registered, self._session = uuid, registered, session
        return db

    def _roll_back(self, db: LimitedConnection) -> None:
        try:
            with translate_database_errors(self.location):
                # Not as a statement: psycopg then forgets the statements that it has prepared, some
                # of which the server has not, because they came after a failed one.
                db.rollback()
        except EmbedderError:
            db.close()
