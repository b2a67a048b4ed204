"""The single writer of a store: a thread that commits queued writes in groups.

Writes that arrive during a commit share the next one; no write waits for a timer. A write that
meets one of another process, or loses its connection, is repeated for a few seconds.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextvars import copy_context
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Generic

import psycopg

from embedder.core.cancellation import Cancellation, Cancelled, current_cancellation
from embedder.core.errors import StageUnavailable, Unavailable
from embedder.index.storage.failpoints import reach
from embedder.index.storage.postgres.connection.error_codes import STAGE, is_conflict
from embedder.index.storage.postgres.transaction import PostgresTransaction
from embedder.index.storage.postgres.writing.repeating import Next, after_failure, is_final, pauses
from embedder.index.storage.postgres.writing.writing_session import (
    OutcomeUnknown,
    WritingSession,
)
from embedder.index.storage.protocol import Effect, T, Write

GROUP = 256
"""Maximum number of writes per commit, which bounds how long the first of them waits."""

PATIENCE_S = 5.0
"""Seconds after its submission for which a write is repeated."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job(Generic[T]):
    write: Write[T]
    future: Future[T]
    cancellation: Cancellation | None
    until: float = field(default_factory=lambda: time.monotonic() + PATIENCE_S)


class Committer:
    """Runs queued writes in the transactions of ``session``."""

    def __init__(self, session: WritingSession) -> None:
        self._session = session
        self._queue: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self.refusal: Exception | None = None
        """The damage for which writes are refused until a restart, or None."""
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Write[T]) -> Future[T]:
        """Queue a write; see `Store.submit`.

        Raises:
            StorageDamaged: an earlier write found the database damaged.
            Unavailable: the index is closed.
        """
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                raise Unavailable("the index is closed")
            if self.refusal is not None:
                raise copy(self.refusal)
            self._queue.put(_Job(write, future, current_cancellation()))
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
            self._commit(jobs)
            if (work := self._session.upkeep.due()) is not None:
                self._commit([_Job(work, Future(), None)])
            if last:
                return

    def _commit(self, jobs: list[_Job[Any]]) -> None:
        """Commit writes together, repeat them if that helps, and run their effects."""
        for pause_s in pauses():
            until = max(job.until for job in jobs)
            try:
                done = self._transact(jobs, until)
            except Exception as error:  # noqa: BLE001 - every future needs a result
                jobs = [job for job in jobs if not job.future.done()]
                step = after_failure(error, len(jobs), until - time.monotonic())
                if step is not Next.REPEAT:
                    self._give_up(jobs, error, step)
                    return
            else:
                for job, effect in done:
                    self._apply(job, effect)
                return
            time.sleep(pause_s)

    def _give_up(self, jobs: Sequence[_Job[Any]], error: Exception, step: Next) -> None:
        """Commit each write alone, or let all of them fail."""
        if step is Next.DIVIDE:
            for job in jobs:
                self._commit([job])
            return
        if is_final(error) and self.refusal is None:
            logger.error("no more writes until a restart: %r", error)
            self.refusal = error
        elif is_conflict(error):
            error = StageUnavailable(STAGE, f"other writes came first: {error}")
        for job in jobs:
            # A copy each: an exception collects the traceback of every caller that raises it.
            job.future.set_exception(copy(error) if len(jobs) > 1 else error)

    def _transact(
        self, jobs: Sequence[_Job[Any]], until: float
    ) -> list[tuple[_Job[Any], Effect[Any]]]:
        """Run writes in one transaction; return those that are committed, with their effects."""
        done: list[tuple[_Job[Any], Effect[Any]]] = []
        try:
            if self.refusal is not None:
                raise copy(self.refusal)
            with self._session.transaction() as rows:
                for job in jobs:
                    effect = self._attempt(rows, job, alone=len(jobs) == 1)
                    if effect is not None:
                        done.append((job, effect))
        except OutcomeUnknown as error:
            if not self._has_committed(until):
                raise StageUnavailable(STAGE, "lost before the commit") from error
        return done

    def _has_committed(self, until: float) -> bool:
        """Ask whether the last transaction is committed, until the database tells it.

        Raises:
            StageUnavailable: it does not tell it in time.
        """
        for pause_s in pauses():
            try:
                return self._session.has_committed()
            except Exception as error:
                if time.monotonic() >= until:
                    reason = f"unknown whether a write is committed: {error!r}"
                    raise StageUnavailable(STAGE, reason) from error
            time.sleep(pause_s)
        raise AssertionError("pauses never end")

    def _attempt(
        self, rows: PostgresTransaction, job: _Job[Any], *, alone: bool
    ) -> Effect[Any] | None:
        """Run one write; if it fails in a group, undo this write alone and return None.

        Raises:
            Exception: the transaction cannot continue, or the write is ``alone``.
        """
        if job.cancellation is not None and job.cancellation.requested:
            job.future.set_exception(Cancelled())
            return None
        if alone:
            context = copy_context()
            if job.cancellation is not None:
                context.run(job.cancellation.enter)  # stops a statement that runs
            return context.run(job.write, rows)
        rows.db.execute("SAVEPOINT write")
        try:
            effect = job.write(rows)
        except Exception as error:
            if isinstance(error, psycopg.Error) or is_final(error):
                raise
            rows.db.execute("ROLLBACK TO write")
            rows.locked.forget()
            job.future.set_exception(error)
            return None
        rows.db.execute("RELEASE write")
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
