"""Commits the queued writes of a shard in groups, in the thread that owns the connection.

A group shares one commit and its fsync. A write is acknowledged when its effect is visible.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from pathlib import Path
from typing import Any

from embedder.core.cancellation import Cancelled
from embedder.core.errors import EmbedderError
from embedder.core.storage_errors import StorageDamaged, StorageFull, StorageReadOnly
from embedder.index.storage.failpoints import reach
from embedder.index.storage.protocol import Effect
from embedder.index.storage.sqlite.error_codes import storage_error, translate_storage_errors
from embedder.index.storage.sqlite.meta_table import read_number
from embedder.index.storage.sqlite.reserved_space import ReservedSpace
from embedder.index.storage.sqlite.schema import release_free_pages
from embedder.index.storage.sqlite.transaction import SqliteTransaction
from embedder.index.storage.write_queue import Job, WriteQueue, apply, fail

VACUUM_PAGES = 64
VACUUMS = 128
"""On a full disk: free pages that one transaction releases, and the number of transactions."""

logger = logging.getLogger(__name__)


class Committer(WriteQueue):
    """Runs queued writes; commits only while ``epoch`` is the epoch of the file."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, reserve: ReservedSpace, *, epoch: int
    ) -> None:
        self._connection = connection
        self._rows = SqliteTransaction(connection, path)
        self._reserve = reserve
        self._path = path
        self._epoch = epoch
        super().__init__()

    def commit_group(self, jobs: list[Job[Any]]) -> None:
        """Commit a group of writes, and complete the reserve before and after it."""
        if not self._reserve.is_complete and not all(job.frees for job in jobs):
            self._restore_reserve()
        self._commit(jobs)
        if not self._reserve.is_complete:
            self._restore_reserve()

    def _commit(self, jobs: list[Job[Any]]) -> None:
        done: list[tuple[Job[Any], Effect[Any]]] = []
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
            apply(job, effect)

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

    def _attempt(self, job: Job[Any]) -> Effect[Any] | None:
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

    def _fail(self, jobs: list[Job[Any]], error: Exception) -> None:
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
            self._rows.changes_blocks = False
            try:
                self._commit(jobs)
            finally:
                self._rows.changes_blocks = True
            return
        fail(jobs, error)

    def _may_use_reserve(self, jobs: Sequence[Job[Any]]) -> bool:
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
