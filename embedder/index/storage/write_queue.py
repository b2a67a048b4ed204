"""The queue of the writes of a store: one thread takes them in groups, and a store commits a group.

Writes that arrive during a commit share the next one; no write waits for a timer.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Generic

from embedder.core.cancellation import Cancellation, current_cancellation
from embedder.core.errors import Unavailable
from embedder.core.storage_errors import StorageDamaged
from embedder.index.storage.failpoints import reach
from embedder.index.storage.protocol import Effect, T, Write
from embedder.measurements.index import CommitStats

GROUP = 256
"""Maximum number of writes per commit, which bounds how long the first of them waits."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Job(Generic[T]):
    """A queued write, and the future of its result; ``queued_s`` is on ``time.monotonic``."""

    write: Write[T]
    future: Future[T]
    cancellation: Cancellation | None = None
    frees: bool = False
    queued_s: float = field(default_factory=time.monotonic)


class WriteQueue(ABC):
    """Passes groups of writes to `commit_group`, in the order of their submission."""

    def __init__(self) -> None:
        """Start the thread, for which a subclass must be complete."""
        self.refusal: Exception | None = None
        """Why writes are refused until a restart, or None."""
        self.commits = CommitStats()
        self._queue: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)
        self._thread.start()

    @abstractmethod
    def commit_group(self, jobs: list[Job[Any]]) -> None:
        """Commit up to `GROUP` writes, and give each future a result; called in the thread."""

    def submit(self, write: Write[T], *, frees: bool = False) -> Future[T]:
        """Queue a write; see `Store.submit`.

        Raises:
            Unavailable: the index is closed.
            EmbedderError: writes are refused; a copy of `refusal`.
        """
        future: Future[T] = Future()
        with self._closing:
            if self._closed:
                raise Unavailable("the index is closed")
            if self.refusal is not None:
                raise copy(self.refusal)
            self._queue.put(Job(write, future, current_cancellation(), frees))
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
            with self.commits.seconds.time():
                self.commit_group(jobs)
            self._count(jobs)
            if last:
                return

    def _count(self, jobs: Sequence[Job[Any]]) -> None:
        refused = sum(map(_is_refused, jobs))
        self.commits.failures += refused > 0
        self.commits.writes += len(jobs) - refused


def _is_refused(job: Job[Any]) -> bool:
    """Return whether the store has refused a write, which is no fault of the write itself."""
    future = job.future
    if not future.done() or future.cancelled():
        return False
    return isinstance(future.exception(), (Unavailable, StorageDamaged))


def apply(job: Job[Any], effect: Effect[Any]) -> None:
    """Run the effect of a committed write, and give the future its result."""
    try:
        result = effect()
        reach("apply.after")
    except Exception as error:
        # The effect itself has reloaded the collection that it left inconsistent.
        logger.exception("a write was committed, but could not be made visible")
        job.future.set_exception(error)
    else:
        job.future.set_result(result)


def fail(jobs: Sequence[Job[Any]], error: Exception) -> None:
    """Let all writes of a group fail."""
    for job in jobs:
        # A copy each: an exception collects the traceback of every caller that raises it.
        job.future.set_exception(copy(error) if len(jobs) > 1 else error)
