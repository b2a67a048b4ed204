"""The single writer of a shard: a thread that owns the connection and commits writes in groups.

Writes that arrive during a commit share the next commit and its fsync; no write waits for a timer.
A write is acknowledged when it is committed and its effect is visible.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from embedder.core.cancellation import Cancellation, Cancelled, current_cancellation
from embedder.core.errors import EmbedderError, Unavailable
from embedder.core.storage_errors import StorageDamaged, StorageFull, StorageReadOnly
from embedder.index.storage.failpoints import reach
from embedder.index.storage.protocol import Effect, T, Write
from embedder.index.storage.sqlite.error_codes import storage_error, translate_storage_errors
from embedder.index.storage.sqlite.reserved_space import ReservedSpace
from embedder.index.storage.sqlite.schema import read_number, release_free_pages
from embedder.index.storage.sqlite.transaction import SqliteTransaction

GROUP = 256
"""Maximum number of writes per commit, which bounds how long the first of them waits."""

VACUUM_PAGES = 64
VACUUMS = 128
"""On a full disk: free pages that one transaction releases, and the number of transactions."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job(Generic[T]):
    write: Write[T]
    future: Future[T]
    cancellation: Cancellation | None
    frees: bool


class Committer:
    """Runs queued writes; commits only while ``epoch`` is the epoch of the file."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, reserve: ReservedSpace, *, epoch: int
    ) -> None:
        self._connection = connection
        self._rows = SqliteTransaction(connection, path)
        self._reserve = reserve
        self._path = path
        self._epoch = epoch
        self._queue: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self.refusal: EmbedderError | None = None
        """Why writes are refused until a restart, or None."""
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Write[T], *, frees: bool = False) -> Future[T]:
        """Queue a write; see `Store.submit`. ``frees`` lets it use the reserve on a full disk.

        Raises:
            StorageReadOnly: the disk failed in an earlier write.
            StorageDamaged: an earlier write found the file damaged.
            Unavailable: the index is closed.
        """
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                raise Unavailable("the index is closed")
            if self.refusal is not None:
                raise copy(self.refusal)
            self._queue.put(_Job(write, future, current_cancellation(), frees))
        return future

    def close(self) -> None:
        """Finish the queued writes and stop the thread; idempotent."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            jobs, last = [job], False
            while len(jobs) < GROUP and not self._queue.empty() and not last:
                following = self._queue.get()
                last = following is None
                if following is not None:
                    jobs.append(following)
            if not self._reserve.is_complete and not all(job.frees for job in jobs):
                self._restore_reserve()
            self._commit(jobs)
            if not self._reserve.is_complete:
                self._restore_reserve()
            if last:
                return

    def _commit(self, jobs: list[_Job[Any]]) -> None:
        done: list[tuple[_Job[Any], Effect[Any]]] = []
        try:
            if self.refusal is not None:
                raise copy(self.refusal)
            with translate_storage_errors(self._path), self._transaction():
                for job in jobs:
                    effect = self._attempt(job)
                    if effect is not None:
                        done.append((job, effect))
                reach("commit.before")
            reach("commit.after")
        except Exception as error:  # noqa: BLE001 - every future needs a result
            self._fail([job for job in jobs if not job.future.done()], error)
            return
        for job, effect in done:
            self._apply(job, effect)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._connection.in_transaction:  # the rollback of the last one failed
            self._connection.execute("ROLLBACK")
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            if read_number(self._connection, "epoch") != self._epoch:
                raise StorageReadOnly(str(self._path), "another owner has taken over the file")
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # On a full disk, SQLite has already rolled back.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _attempt(self, job: _Job[Any]) -> Effect[Any] | None:
        """Run one write of a group; if it fails, undo this write alone and return None.

        Raises:
            EmbedderError: the disk failed, so that the whole group fails.
            Exception: SQLite has rolled back the transaction with all writes of the group.
        """
        if job.cancellation is not None and job.cancellation.requested:
            job.future.set_exception(Cancelled())
            return None
        self._connection.execute("SAVEPOINT write")
        try:
            if not job.frees and not self._reserve.is_complete:
                raise StorageFull(str(self._path))
            effect = job.write(self._rows)
        except Exception as error:
            known = storage_error(error, self._path) or error
            concerns_group = _concerns_all(known) or isinstance(known, StorageFull)
            if concerns_group or not self._connection.in_transaction:
                raise
            self._connection.execute("ROLLBACK TO write")
            self._connection.execute("RELEASE write")
            job.future.set_exception(known)
            return None
        self._connection.execute("RELEASE write")
        return effect

    def _apply(self, job: _Job[Any], effect: Effect[Any]) -> None:
        try:
            result = effect()
            reach("apply.after")
        except Exception as error:
            # The effect itself has reloaded the collection that it left inconsistent.
            logger.exception("a write was committed, but could not be made visible")
            job.future.set_exception(error)
        else:
            job.future.set_result(result)

    def _fail(self, jobs: list[_Job[Any]], error: Exception) -> None:
        if _concerns_all(error):
            if self.refusal is None and isinstance(error, EmbedderError):
                logger.error("no more writes until a restart: %r", error)
                self.refusal = error
        elif len(jobs) > 1:
            # Retry one by one: only the writes that caused the error, or need space, fail.
            for job in jobs:
                self._commit([job])
            return
        elif isinstance(error, StorageFull) and self._may_use_reserve(jobs):
            self._commit(jobs)
            return
        for job in jobs:
            # A copy each: an exception collects the traceback of every caller that raises it.
            job.future.set_exception(copy(error) if len(jobs) > 1 else error)

    def _may_use_reserve(self, jobs: Sequence[_Job[Any]]) -> bool:
        if not all(job.frees for job in jobs):
            return False
        self._empty_log()
        return self._reserve.release_chunk()

    def _restore_reserve(self) -> None:
        """Free the space of the log and of deleted rows, and allocate the reserve again."""
        for _ in range(VACUUMS):
            self._empty_log()
            # In small steps: moved pages are written to the log before any page is free.
            with suppress(sqlite3.Error, EmbedderError), self._transaction():
                if release_free_pages(self._connection, VACUUM_PAGES):
                    continue
            break
        # Last, because the log of the next write needs space as well.
        self._reserve.restore()

    def _empty_log(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _concerns_all(error: Exception) -> bool:
    """Say whether the error means that no later write can be trusted."""
    damaged = isinstance(error, StorageDamaged) and error.collection is None
    return damaged or isinstance(error, StorageReadOnly)
