"""Statistics of thread queues, and a thread pool without a budget that keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The state of one queue: ``waiting`` work is admitted and has not started.

    ``refused`` counts the work that was refused since the start.
    """

    name: str
    waiting: int
    running: int
    refused: int


def summed(name: str, queues: Iterable[QueueStats]) -> QueueStats:
    """Return the sum over several queues under one name."""
    counts = [(queue.waiting, queue.running, queue.refused) for queue in queues]
    return QueueStats(name, *(sum(column) for column in zip((0, 0, 0), *counts, strict=True)))


class CountedThreads:
    """A thread pool that accepts all work and runs it in the order of arrival."""

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._futures: set[Future[Any]] = set()

    @property
    def stats(self) -> QueueStats:
        """Return the work that waits and runs now."""
        futures = list(self._futures)  # one atomic copy: worker threads remove their futures
        running = sum(future.running() for future in futures)
        return QueueStats(self._name, len(futures) - running, running, refused=0)

    async def run(self, work: Callable[[], T]) -> T:
        """Run work in a thread and return its result; cancelled work that waits never starts."""
        future = self._threads.submit(work)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Start no more work, and do not wait for work that runs."""
        self._threads.shutdown(wait=False, cancel_futures=True)
