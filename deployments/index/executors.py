"""The threads of an index shard, separate for searches, reads, scans, writes and copies.

Reads, scans and writes that would wait too long are refused before they start. The ingress admits
searches, and sends only a few calls at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from deployments.settings.service import ServeSettings
from embedder.pipeline.reservations import retry_token_of
from embedder.pipeline.threads import QueueStats
from embedder.pipeline.work_queue import WorkClass, WorkQueue

T = TypeVar("T")

SCAN_ROWS = 20_000
"""Reads of more rows are scans, which have separate threads, so that small reads do not wait."""


class IndexExecutors:
    """Runs the work of one shard."""

    def __init__(self, settings: ServeSettings) -> None:
        wait_s, max_queued = settings.limits.max_wait_s, settings.index.max_queued_bytes
        self._searches = WorkQueue(WorkClass("index-search", 4, 1.0, math.inf))
        self._reads = WorkQueue(WorkClass("index-read", 2, 100_000.0, wait_s))
        self._scans = WorkQueue(WorkClass("index-scan", 2, 200_000.0, wait_s))
        # Many threads, because they wait for the disk, and writes that wait share one commit.
        self._writes = WorkQueue(WorkClass("index-write", 16, 1e6, wait_s, max_queued))
        self._copies = WorkQueue(WorkClass("index-copy", 1, 1.0, math.inf))
        self._queues = (self._searches, self._reads, self._scans, self._writes, self._copies)

    async def search(self, queries: int, method: Callable[..., T], *arguments: Any) -> T:
        """Run a search."""
        return await _run(self._searches, queries, method, arguments)

    async def read(self, rows: int, method: Callable[..., T], *arguments: Any) -> T:
        """Run a read of so many rows."""
        queue = self._scans if rows > SCAN_ROWS else self._reads
        return await _run(queue, rows, method, arguments)

    async def write(self, size: int, method: Callable[..., T], *arguments: Any) -> T:
        """Run a write of so many bytes."""
        return await _run(self._writes, size, method, arguments)

    async def copy(self, method: Callable[..., T], *arguments: Any) -> T:
        """Run a backup, an export or a restore; only one runs at a time."""
        return await self._copies.run(1, partial(method, *arguments), bytes)

    @property
    def queues(self) -> list[QueueStats]:
        """Return the statistics of each queue."""
        return [queue.stats for queue in self._queues]

    def close(self) -> None:
        """Start no more work, and let running work end."""
        for queue in self._queues:
            queue.close()


async def _run(
    queue: WorkQueue, units: int, method: Callable[..., T], arguments: tuple[Any, ...]
) -> T:
    retry_token = partial(retry_token_of, method.__name__, arguments)
    return await queue.run(units, partial(method, *arguments), retry_token)
