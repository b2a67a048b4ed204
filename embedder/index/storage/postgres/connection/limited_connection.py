"""A connection that stops a statement whose caller is cancelled, or that lasts too long.

The thread that waits for the server checks both, so that no statement costs a round trip more. If a
server does not even end a statement that it was asked to stop, the connection counts as lost: it
may hang while its host still acknowledges data.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.rows import TupleRow

from embedder.core.cancellation import Cancelled, is_cancelled

T = TypeVar("T")

CHECK_S = 0.05
"""Seconds between two checks."""

STATEMENT_S = 60.0
"""Seconds that a statement may last: a scan of a large collection lasts long."""

STOP_S = 2.0
"""Seconds for the server to end a statement that it was asked to stop."""


class LimitedConnection(psycopg.Connection[TupleRow]):
    """Raises `Cancelled` where the current context was cancelled."""

    history = ""
    """The history of its rows; see `Snapshot.history`."""

    statement_s = STATEMENT_S
    """Seconds after which a statement is stopped."""

    is_committing = False
    """Whether a statement must not be stopped, because it may end before a standby has it."""

    _running: psycopg.Pipeline | None = None

    @contextmanager
    def pipeline(self) -> Iterator[psycopg.Pipeline]:
        """Let statements be sent together, which `fetched` and the end of the block wait for."""
        with super().pipeline() as pipeline:
            self._running = pipeline
            try:
                yield pipeline
            finally:
                self._running = None

    def fetched(self, *cursors: psycopg.Cursor[TupleRow]) -> list[TupleRow]:
        """Return all rows of statements that were executed.

        In a pipeline the server then knows that it has got all statements. Otherwise it would not
        count a client that hangs as idle in its transaction, and not end that.
        """
        if self._running is not None:
            self._running.sync()
        return [row for cursor in cursors for row in cursor.fetchall()]

    def wait(self, gen: Any, interval: float = CHECK_S, timeout: float | None = None) -> Any:
        """Run a generator of psycopg to its end, in the limits of the connection.

        Raises:
            Cancelled: the caller was cancelled while the statement ran.
            OperationalError: the server does not stop it.
            QueryCanceled: the statement lasts too long.
        """
        try:
            return super().wait(self._limited(gen), min(interval, CHECK_S), timeout)
        except psycopg.errors.QueryCanceled as error:
            if is_cancelled():
                raise Cancelled from error
            raise

    def _limited(self, gen: Generator[T, Any, Any]) -> Generator[T, Any, Any]:
        ends, is_stopping = time.monotonic() + self.statement_s, False
        try:
            state = next(gen)
            while True:
                ready = yield state
                # Only after a pause, so that a short statement, as the end of a transaction, ends.
                if not ready:
                    is_stopping, ends = self._check(is_stopping, ends)
                state = gen.send(ready)
        except StopIteration as ended:
            return ended.value

    def _check(self, is_stopping: bool, ends: float) -> tuple[bool, float]:
        """Stop a statement that must end; return whether it was told to, and its latest end."""
        is_late = time.monotonic() > ends
        if is_late and (is_stopping or self.is_committing):
            self.close()
            raise psycopg.OperationalError("the server does not end a statement")
        if not is_stopping and (is_late or (is_cancelled() and not self.is_committing)):
            self._try_cancel(timeout=STOP_S)
            return True, time.monotonic() + STOP_S
        return is_stopping, ends
