"""The one writer of a shard: a thread that owns the connection and commits in groups.

Whatever arrives while a commit waits for the disk goes with the next one, so that writers share
its fsync without any of them waiting on a timer. A write is acknowledged when it is committed and
its effect can be seen. Knows nothing of what is written: a write is a function.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from embedder.errors import EmbedderError, Overloaded, Unavailable
from embedder.index.disk import disk_error
from embedder.index.failpoints import reach
from embedder.index.schema import read_number
from embedder.storage_errors import StorageDamaged, StorageReadOnly

T = TypeVar("T")
Effect = Callable[[], T]
"""What makes a committed write visible; its result is the acknowledgement."""
Write = Callable[[sqlite3.Connection], Effect[T]]
"""Writes rows inside a transaction of the committer's and returns the effect."""

GROUP = 256
"""Writes of one commit at most: what one reader of a snapshot of the log may have to wait for."""
RETRY_AFTER_S = 1.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job(Generic[T]):
    write: Write[T]
    future: Future[T]


class Committer:
    """Runs writes one after the other; ``epoch`` is the ownership under which it may commit."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, *, epoch: int, max_waiting: int
    ) -> None:
        self._connection = connection
        self._path = path
        self._epoch = epoch
        self._max_waiting = max_waiting
        self._queue: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._refusal: EmbedderError | None = None
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)
        self._thread.start()

    @property
    def refusal(self) -> EmbedderError | None:
        """Return why writes are refused until a restart, or None."""
        return self._refusal

    def submit(self, write: Write[T], *, always: bool = False) -> Future[T]:
        """Queue a write; its future has the effect's result, or why it was not committed.

        ``always`` is for our own work, which nobody can send again.

        Raises:
            Overloaded: too many writes wait already.
            StorageReadOnly: an earlier write failed so that none can be trusted.
            StorageDamaged: an earlier write found the file damaged.
        """
        if not always and self._queue.qsize() >= self._max_waiting:
            raise Overloaded(RETRY_AFTER_S)
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                raise Unavailable("the index is closed")
            if self._refusal is not None:
                raise self._refusal
            self._queue.put(_Job(write, future))
        return future

    def close(self) -> None:
        """Finish what is queued and stop the thread; doing it twice is harmless."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            jobs, last = [job], False
            while len(jobs) < GROUP and not self._queue.empty() and not last:
                following = self._queue.get()
                last = following is None
                if following is not None:
                    jobs.append(following)
            self._commit(jobs)
            if last:
                return

    def _commit(self, jobs: list[_Job[Any]]) -> None:
        done: list[tuple[_Job[Any], Effect[Any]]] = []
        try:
            if self._refusal is not None:
                raise self._refusal
            with self._transaction():
                for job in jobs:
                    effect = self._attempt(job)
                    if effect is not None:
                        done.append((job, effect))
                reach("commit.before")
            reach("commit.after")
        except Exception as error:  # noqa: BLE001 - whatever failed, every waiting writer is told
            self._fail([job for job in jobs if not job.future.done()], error)
            return
        for job, effect in done:
            self._apply(job, effect)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            if read_number(self._connection, "epoch") != self._epoch:
                raise StorageReadOnly(str(self._path), "another owner has taken it over")
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # A full disk has SQLite roll back by itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _attempt(self, job: _Job[Any]) -> Effect[Any] | None:
        """Run one write of a group; one that is refused leaves no trace and fails alone."""
        self._connection.execute("SAVEPOINT write")
        try:
            effect = job.write(self._connection)
        except StorageDamaged:
            raise
        except EmbedderError as error:
            self._connection.execute("ROLLBACK TO write")
            self._connection.execute("RELEASE write")
            job.future.set_exception(error)
            return None
        self._connection.execute("RELEASE write")
        return effect

    def _apply(self, job: _Job[Any], effect: Effect[Any]) -> None:
        try:
            result = effect()
            reach("apply.after")
        except Exception as error:
            # Committed but not visible: what is searched lags behind until a restart replays it.
            logger.exception("a committed write could not be made visible")
            self._refusal = StorageReadOnly(str(self._path), repr(error))
            job.future.set_exception(self._refusal)
        else:
            job.future.set_result(result)

    def _fail(self, jobs: list[_Job[Any]], cause: Exception) -> None:
        error = disk_error(cause, self._path)
        if isinstance(error, (StorageReadOnly, StorageDamaged)) and self._refusal is None:
            logger.error("no more writes until a restart: %r", error)
            self._refusal = error
        for job in jobs:
            job.future.set_exception(error)
