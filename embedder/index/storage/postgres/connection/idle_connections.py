"""Connections for reads: each call takes one that no other call uses meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import IsolationLevel

from embedder.core.errors import StageUnavailable
from embedder.index.storage.postgres.connection.connecting import connect
from embedder.index.storage.postgres.connection.error_codes import translate_database_errors

Connection = psycopg.Connection[Any]

T = TypeVar("T")


class IdleConnections:
    """Opens connections to ``url`` as calls need them, and keeps them for later calls.

    Their host takes writes, so that they see every committed one.
    """

    def __init__(self, url: str, location: str) -> None:
        self._url = url
        self._location = location
        self._idle: list[Connection] = []
        self._closed = threading.Event()

    def run(self, read: Callable[[Connection], T]) -> T:
        """Call ``read`` with a connection, and once more with a new one if the first was lost.

        Raises:
            StageUnavailable: the database does not answer.
            StorageDamaged: the database or ``read`` has found damaged data.
            StorageReadOnly: every host that answers only reads.
        """
        try:
            with self.take() as db:
                return read(db)
        except StageUnavailable:
            # The others were probably lost with it.
            self._close_idle()
            with self.take() as db:
                return read(db)

    @contextmanager
    def take(self, *, checked: bool = False) -> Iterator[Connection]:
        """Yield a connection; ``checked`` says that it must not be a lost one.

        Raises:
            StageUnavailable: the database does not answer.
            StorageReadOnly: every host that answers only reads.
        """
        if checked:
            self.run(lambda db: db.execute("SELECT"))
        db = self._idle.pop() if self._idle else self._connect()
        try:
            with translate_database_errors(self._location):
                yield db
        finally:
            self._give_back(db)

    def close(self) -> None:
        """Close the idle connections, and the others when their calls end."""
        self._closed.set()
        self._close_idle()

    def _connect(self) -> Connection:
        db = connect(self._url, writable=True)
        db.isolation_level, db.read_only = IsolationLevel.REPEATABLE_READ, True
        return db

    def _give_back(self, db: Connection) -> None:
        if not db.closed:
            self._idle.append(db)
        if self._closed.is_set():
            self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()
