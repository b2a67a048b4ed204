"""What waits for threads and what they do: of every queue, and threads without a budget that count.

Knows nothing of prices or of the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The work of one queue: ``waiting`` is admitted and not started, ``refused`` is a counter."""

    name: str
    waiting: int
    running: int
    refused: int = 0


def summed(name: str, queues: Iterable[QueueStats]) -> QueueStats:
    """Return the work of several queues as that of one."""
    counts = [(one.waiting, one.running, one.refused) for one in queues]
    return QueueStats(name, *(sum(column) for column in zip((0, 0, 0), *counts, strict=True)))


class CountedThreads:
    """Threads that do all work they are given, in the order of its arrival."""

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._futures: set[Future[Any]] = set()

    @property
    def stats(self) -> QueueStats:
        """Return what waits and runs now."""
        futures = list(self._futures)  # a copy, made in one step: threads take theirs out
        running = sum(future.running() for future in futures)
        return QueueStats(self._name, len(futures) - running, running)

    async def run(self, work: Callable[[], T]) -> T:
        """Do work in a thread and return its result; it is not started for a caller that left."""
        future = self._threads.submit(work)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let running work end, without waiting for it; nothing more is started."""
        self._threads.shutdown(wait=False, cancel_futures=True)
