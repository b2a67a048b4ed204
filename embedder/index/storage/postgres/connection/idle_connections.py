"""Connections for reads: each call takes one that no other call uses meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeVar

from psycopg import IsolationLevel
from psycopg.pq import TransactionStatus

from embedder.core.errors import StageUnavailable
from embedder.index.storage.postgres.connection.connecting import connect
from embedder.index.storage.postgres.connection.error_codes import translate_database_errors
from embedder.index.storage.postgres.connection.history import read_history
from embedder.index.storage.postgres.connection.limited_connection import LimitedConnection
from embedder.index.storage.stale_reads import may_be_stale

T = TypeVar("T")


class IdleConnections:
    """Opens connections to ``url`` as calls need them, and keeps them for later calls.

    Their host takes writes, so that they see every committed one; any host serves `stale_reads`.
    """

    def __init__(self, url: str, location: str) -> None:
        self._url = url
        self._location = location
        self._idle: dict[bool, list[LimitedConnection]] = {True: [], False: []}
        """By whether the host must take writes."""
        self._busy: set[LimitedConnection] = set()
        self._history = ""
        """That of the newest connection which takes writes; the older ones are not used again."""
        self._closed = threading.Event()

    def run(self, read: Callable[[LimitedConnection], T]) -> T:
        """Call ``read`` with a connection, and once more with a new one if the first was lost.

        Raises:
            StageUnavailable: the database does not answer.
            StorageDamaged: the database or ``read`` has found damaged data.
            StorageReadOnly: every host that answers only reads.
        """
        with self.take() as db:
            try:
                with translate_database_errors(self._location):
                    return read(db)
            except StageUnavailable:
                if not db.closed:
                    raise
        # The idle ones were probably lost with it.
        self._close_idle()
        with self.take() as db, translate_database_errors(self._location):
            return read(db)

    @contextmanager
    def take(self, *, checked: bool = False) -> Iterator[LimitedConnection]:
        """Yield a connection; ``checked`` replaces an idle one that was lost meanwhile.

        Raises:
            StageUnavailable: no host answers.
            StorageReadOnly: every host that answers only reads.
        """
        if checked:
            self.run(lambda db: db.execute("SELECT"))
        idle = self._idle[not may_be_stale()]
        try:
            db = idle.pop()
        except IndexError:
            db = self._connect()
        self._busy.add(db)
        try:
            yield db
        finally:
            self._busy.discard(db)
            is_current = db.history in ("", self._history)
            if is_current and db.info.transaction_status == TransactionStatus.IDLE:
                idle.append(db)
            else:
                db.close()
            if self._closed.is_set():
                self._close_idle()

    @property
    def counts(self) -> Mapping[str, int]:
        """Return the number of connections by state: those of calls, and those kept for others."""
        return {"busy": len(self._busy), "idle": sum(map(len, self._idle.values()))}

    def close(self) -> None:
        """Close the idle connections, and the others when their calls end."""
        self._closed.set()
        self._close_idle()

    def _connect(self) -> LimitedConnection:
        db = connect(self._url, writable=not may_be_stale())
        if not may_be_stale():
            self._enter_history(db)
        db.isolation_level, db.read_only = IsolationLevel.REPEATABLE_READ, True
        return db

    def _enter_history(self, db: LimitedConnection) -> None:
        try:
            db.history = read_history(db, self._location)
        except BaseException:
            db.close()
            raise
        if db.history != self._history:
            self._history = db.history
            self._close_idle()

    def _close_idle(self) -> None:
        for idle in self._idle.values():
            with suppress(IndexError):
                while True:
                    idle.pop().close()
