"""The threads of one class of work: its budget, its rate, and whether a request may have some.

Work has a price in units (rows, bytes, operations). Each class has its own threads, so that no
class waits for another. Work starts in the order of its arrival, and not at all if its caller has
gone; running work is asked to stop. The rule of admission is in `admission`. Knows nothing of Ray,
HTTP or the computation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import TypeVar

from embedder.core.cancellation import Cancellation
from embedder.core.errors import Overloaded, Unavailable
from embedder.pipeline.admission_policy import AdmissionPolicy
from embedder.pipeline.threads import QueueStats

T = TypeVar("T")

MEMORY_S = 10.0
"""Seconds of work after which a measurement counts half or less."""

GUESS_S = 0.5
"""Seconds of work that the guess of a rate is worth against what is measured."""


@dataclass(frozen=True, slots=True)
class WorkClass:
    """How much of one class of work is done at once, and how much may wait.

    ``units_per_s`` is a guess for one thread, until the rate has been measured. ``max_units``
    bounds what is held in memory; None: nothing does.
    """

    name: str
    threads: int
    units_per_s: float
    max_wait_s: float
    max_units: int | None = None


class WorkQueue:
    """Admission to one class of work, and its threads. Use it from one event loop at a time."""

    def __init__(self, kind: WorkClass, clock: Callable[[], float] = time.monotonic) -> None:
        self._kind = kind
        self._clock = clock
        self._rate = _Rate(kind)
        self._admission = AdmissionPolicy(self._rate, kind.max_wait_s)
        self._free = asyncio.Semaphore(kind.threads)
        self._threads = ThreadPoolExecutor(kind.threads, thread_name_prefix=kind.name)
        self._queued = self._refused = 0
        self._jobs: set[AdmittedJob] = set()

    @property
    def queued(self) -> int:
        """Return the units that wait or are being worked on."""
        return self._queued

    @property
    def stats(self) -> QueueStats:
        """Return what waits and runs now, and how much was refused."""
        running = sum(one._in_thread for one in self._jobs)
        waiting = len(self._jobs) - running
        return QueueStats(self._kind.name, waiting, running, self._refused)

    async def run(self, units: int, work: Callable[[], T], retry_token: Callable[[], bytes]) -> T:
        """Do work in a thread and return its result.

        Raises:
            Overloaded: as `admit`.
            Unavailable: the queue is closed.
        """
        with self.admit(units, retry_token) as job:
            return await job.run(work)

    @contextmanager
    def admit(self, units: int, retry_token: Callable[[], bytes]) -> Iterator[AdmittedJob]:
        """Admit work that will be run inside the block; ``retry_token`` identifies its request.

        Raises:
            Overloaded: the work before it takes too long, or holds too much memory; it says when
                to come back.
        """
        most = self._kind.max_units
        excess = 0 if most is None or not self._queued else self._queued + units - most
        try:
            self._admission.admit(units, self._queued, retry_token, self._clock(), excess=excess)
        except Overloaded:
            self._refused += 1
            raise
        job = AdmittedJob(self, units)
        try:
            yield job
        finally:
            job.leave()

    def close(self) -> None:
        """Let running work end; nothing more is started."""
        self._threads.shutdown(wait=True, cancel_futures=True)


class AdmittedJob:
    """Admitted work: it counts until its block has ended, and so has its thread."""

    def __init__(self, queue: WorkQueue, units: int) -> None:
        self._queue = queue
        self._units = units
        self._in_thread = False
        queue._queued += units
        queue._jobs.add(self)

    async def run(self, work: Callable[[], T]) -> T:
        """Do the work in a thread of its class, once one is free."""
        queue, cancellation = self._queue, Cancellation()
        await queue._free.acquire()
        try:
            context = copy_context()
            context.run(cancellation.enter)
            future = queue._threads.submit(context.run, self._timed, work)
        except RuntimeError as error:
            queue._free.release()
            raise Unavailable(f"{queue._kind.name} is closed") from error
        self._in_thread = True
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda done: self._tell(loop, done))
        try:
            result, _ = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            cancellation.request()
            raise
        return result

    def leave(self) -> None:
        """Stop counting the work, unless its thread still runs: then when that has ended."""
        if not self._in_thread:
            self._queue._queued -= self._units
            self._units = 0
            self._queue._jobs.discard(self)

    def _timed(self, work: Callable[[], T]) -> tuple[T, float]:
        began = self._queue._clock()
        result = work()
        return result, self._queue._clock() - began

    def _tell(self, loop: asyncio.AbstractEventLoop, done: Future[tuple[T, float]]) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it all that waits
            loop.call_soon_threadsafe(self._ended, done)

    def _ended(self, done: Future[tuple[T, float]]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._queue._rate.learn(self._units, done.result()[1])
        self._in_thread = False
        self.leave()
        self._queue._free.release()


class _Rate:
    """The units per second of a class of work, over all its threads."""

    def __init__(self, kind: WorkClass) -> None:
        self._threads = kind.threads
        self._units = kind.units_per_s * GUESS_S
        self._seconds = GUESS_S

    @property
    def promised_per_s(self) -> float:
        return self._units / self._seconds * self._threads

    def seconds(self, units: float) -> float:
        return units / self.promised_per_s

    def wait_s(self, units: float) -> float:
        return self.seconds(units)

    def learn(self, units: float, seconds: float) -> None:
        """Average over the work of the last `MEMORY_S` seconds."""
        kept = MEMORY_S / (MEMORY_S + seconds)
        self._units = kept * self._units + units
        self._seconds = max(1e-6, kept * self._seconds + seconds)
