"""Commits the queued writes of a store in groups.

A write that meets one of another process, or loses its connection, is repeated for a few seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextvars import copy_context
from copy import copy
from typing import Any

import psycopg

from embedder.core.cancellation import Cancelled
from embedder.core.errors import StageUnavailable
from embedder.index.storage.postgres.connection.error_codes import STAGE, is_conflict
from embedder.index.storage.postgres.transaction import PostgresTransaction
from embedder.index.storage.postgres.writing.repeating import Next, after_failure, is_final, pauses
from embedder.index.storage.postgres.writing.writing_session import (
    OutcomeUnknown,
    WritingSession,
)
from embedder.index.storage.protocol import Effect
from embedder.index.storage.write_queue import Job, WriteQueue, apply, fail

PATIENCE_S = 5.0
"""Seconds after its submission for which a write is repeated."""

logger = logging.getLogger(__name__)


class Committer(WriteQueue):
    """Runs queued writes in the transactions of ``session``."""

    def __init__(self, session: WritingSession) -> None:
        self._session = session
        super().__init__()

    def commit_group(self, jobs: list[Job[Any]]) -> None:
        """Commit a group of writes, and what the upkeep of the tables needs."""
        self._commit(jobs)
        if (work := self._session.upkeep.due()) is not None:
            self._commit([Job(work, Future())])

    def _commit(self, jobs: list[Job[Any]]) -> None:
        """Commit writes together, repeat them if that helps, and run their effects."""
        for pause_s in pauses():
            until = max(job.queued_s for job in jobs) + PATIENCE_S
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
                    apply(job, effect)
                return
            time.sleep(pause_s)

    def _give_up(self, jobs: Sequence[Job[Any]], error: Exception, step: Next) -> None:
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
        fail(jobs, error)

    def _transact(
        self, jobs: Sequence[Job[Any]], until: float
    ) -> list[tuple[Job[Any], Effect[Any]]]:
        """Run writes in one transaction; return those that are committed, with their effects."""
        done: list[tuple[Job[Any], Effect[Any]]] = []
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
        self, rows: PostgresTransaction, job: Job[Any], *, alone: bool
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
