"""Statistics of thread queues, and a thread pool without a budget that keeps them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The state of one queue: ``waiting`` work is admitted and has not started.

    ``refused`` counts the work that was refused since the start. ``oldest_s`` is the age of the
    oldest work that waits, 0 if none does.
    """

    name: str
    waiting: int
    running: int
    refused: int
    oldest_s: float = 0.0


def summed(name: str, queues: Iterable[QueueStats]) -> QueueStats:
    """Return the sum over several queues under one name."""
    queues = list(queues)
    return QueueStats(
        name,
        waiting=sum(queue.waiting for queue in queues),
        running=sum(queue.running for queue in queues),
        refused=sum(queue.refused for queue in queues),
        oldest_s=max((queue.oldest_s for queue in queues), default=0.0),
    )


class CountedThreads:
    """A thread pool that accepts all work and runs it in the order of arrival."""

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._submitted_s: dict[Future[Any], float] = {}

    @property
    def stats(self) -> QueueStats:
        """Return the work that waits and runs now."""
        futures = list(self._submitted_s.items())  # at once: worker threads remove their futures
        waiting = [since_s for future, since_s in futures if not future.running()]
        oldest_s = time.monotonic() - min(waiting) if waiting else 0.0
        return QueueStats(self._name, len(waiting), len(futures) - len(waiting), 0, oldest_s)

    async def run(self, work: Callable[[], T]) -> T:
        """Run work in a thread and return its result; cancelled work that waits never starts."""
        future = self._threads.submit(work)
        self._submitted_s[future] = time.monotonic()
        future.add_done_callback(self._forget)
        return await asyncio.wrap_future(future)

    def _forget(self, future: Future[Any]) -> None:
        self._submitted_s.pop(future, None)

    def close(self) -> None:
        """Start no more work, and do not wait for work that runs."""
        self._threads.shutdown(wait=False, cancel_futures=True)
