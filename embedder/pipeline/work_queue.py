"""The threads of one class of work, with admission by its measured rate.

Work has a price in units (rows, bytes, operations). Each class has its own threads, so that no
class waits for another. Work starts in the order of arrival. If its caller is cancelled, waiting
work never starts and running work is asked to stop.
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
"""Seconds of work after which the weight of a measurement has halved."""

INITIAL_WEIGHT_S = 0.5
"""Weight of the initial rate, in seconds of measured work."""


@dataclass(frozen=True, slots=True)
class WorkClass:
    """The limits of one class of work.

    ``units_per_s`` is the assumed rate of one thread until the rate has been measured.
    ``max_units`` limits the units in memory; None sets no limit. ``shares_tokens`` is as for
    `AdmissionPolicy`.
    """

    name: str
    threads: int
    units_per_s: float
    max_wait_s: float
    max_units: int | None = None
    shares_tokens: bool = False


class WorkQueue:
    """Admission to one class of work, and its threads; use it from one event loop at a time."""

    def __init__(self, kind: WorkClass, clock: Callable[[], float] = time.monotonic) -> None:
        self._kind = kind
        self._clock = clock
        self._rate = _MeasuredRate(kind)
        self._policy = AdmissionPolicy(
            self._rate, kind.max_wait_s, shares_tokens=kind.shares_tokens
        )
        self._free = asyncio.Semaphore(kind.threads)
        self._threads = ThreadPoolExecutor(kind.threads, thread_name_prefix=kind.name)
        self._queued = self._refused = 0
        self._jobs: set[AdmittedJob] = set()

    @property
    def queued(self) -> int:
        """Return the units that wait or run."""
        return self._queued

    @property
    def stats(self) -> QueueStats:
        """Return the number of waiting, running and refused jobs."""
        waiting = [job._admitted_s for job in self._jobs if not job._in_thread]
        oldest_s = self._clock() - min(waiting) if waiting else 0.0
        running = len(self._jobs) - len(waiting)
        return QueueStats(self._kind.name, len(waiting), running, self._refused, oldest_s)

    async def run(self, units: int, work: Callable[[], T], retry_token: Callable[[], bytes]) -> T:
        """Run work in a thread and return its result.

        Raises:
            Overloaded: as `admit`.
            Unavailable: the queue is closed.
        """
        with self.admit(units, retry_token) as job:
            return await job.run(work)

    @contextmanager
    def admit(self, units: int, retry_token: Callable[[], bytes]) -> Iterator[AdmittedJob]:
        """Admit a job that runs inside the block; ``retry_token`` identifies its request.

        Raises:
            Overloaded: the work before it takes too long or holds too much memory. The error
                states when to return.
        """
        max_units = self._kind.max_units
        excess = 0 if max_units is None or not self._queued else self._queued + units - max_units
        try:
            token = self._policy.check(
                units, self._queued, retry_token, self._clock(), excess=excess
            )
        except Overloaded:
            self._refused += 1
            raise
        if token is not None:
            self._policy.reservations.claim(token)
        job = AdmittedJob(self, units)
        try:
            yield job
        finally:
            job.release()

    def close(self) -> None:
        """Wait for running work, and start no more."""
        self._threads.shutdown(wait=True, cancel_futures=True)


class AdmittedJob:
    """Admitted work; its units count until both its block and its thread have ended."""

    def __init__(self, queue: WorkQueue, units: int) -> None:
        self._queue = queue
        self._units = units
        self._in_thread = False
        self._admitted_s = queue._clock()
        queue._queued += units
        queue._jobs.add(self)

    async def run(self, work: Callable[[], T]) -> T:
        """Run the work in a thread of its class, once one is free."""
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
        future.add_done_callback(lambda done: self._notify(loop, done))
        try:
            result, _ = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            cancellation.request()
            raise
        return result

    def resize(self, units: int) -> None:
        """Correct the units of work that has not started."""
        self._queue._queued += units - self._units
        self._units = units

    def release(self) -> None:
        """Stop counting the units; if the thread still runs, they count until it ends."""
        if not self._in_thread:
            self._queue._queued -= self._units
            self._units = 0
            self._queue._jobs.discard(self)

    def _timed(self, work: Callable[[], T]) -> tuple[T, float]:
        start_s = self._queue._clock()
        result = work()
        return result, self._queue._clock() - start_s

    def _notify(self, loop: asyncio.AbstractEventLoop, done: Future[tuple[T, float]]) -> None:
        with suppress(RuntimeError):  # the loop has ended, and all waiters with it
            loop.call_soon_threadsafe(self._ended, done)

    def _ended(self, done: Future[tuple[T, float]]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._queue._rate.learn(self._units, done.result()[1])
        self._in_thread = False
        self.release()
        self._queue._free.release()


class _MeasuredRate:
    """The units per second of a class of work, summed over its threads."""

    def __init__(self, kind: WorkClass) -> None:
        self._threads = kind.threads
        self._units = kind.units_per_s * INITIAL_WEIGHT_S
        self._seconds = INITIAL_WEIGHT_S

    @property
    def promised_per_s(self) -> float:
        return self._units / self._seconds * self._threads

    def seconds(self, units: float) -> float:
        return units / self.promised_per_s

    wait_s = seconds

    def learn(self, units: float, seconds: float) -> None:
        """Update the average over about the last `MEMORY_S` seconds of work."""
        kept = MEMORY_S / (MEMORY_S + seconds)
        self._units = kept * self._units + units
        self._seconds = max(1e-6, kept * self._seconds + seconds)
