"""The threads of an index shard, separate for searches, reads, scans, writes and copies.

Reads, scans and writes that would wait too long are refused before they start. The ingress admits
searches, and sends only a few calls at a time. Only one copy runs at a time: a backup, an export or
a restore.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from deployments.settings.service import ServeSettings
from embedder.pipeline.threads import QueueStats
from embedder.pipeline.work_queue import WorkClass, WorkQueue

T = TypeVar("T")

SCAN_ROWS = 20_000
"""Reads of more rows are scans, which have separate threads, so that small reads do not wait."""


class IndexExecutors:
    """Runs the work of one shard."""

    def __init__(self, settings: ServeSettings) -> None:
        wait_s, max_queued = settings.limits.max_wait_s, settings.index.max_queued_bytes
        classes = (
            WorkClass("index-search", 4, 1.0, math.inf),
            WorkClass("index-read", 2, 100_000.0, wait_s),
            WorkClass("index-scan", 2, 200_000.0, wait_s),
            # Many threads, because they wait for the disk, and writes that wait share one commit.
            WorkClass("index-write", 16, 1e6, wait_s, max_queued),
            WorkClass("index-copy", 1, 1.0, math.inf),
        )
        self._queues = {kind.name.removeprefix("index-"): WorkQueue(kind) for kind in classes}

    async def run(
        self, kind: str, units: int, work: Callable[[], T], retry_token: Callable[[], bytes]
    ) -> T:
        """Run work of a class; a read of more than `SCAN_ROWS` rows is a scan.

        The unit is a row of a read or scan, and a byte of a write; see `WorkQueue.run`.

        Raises:
            Overloaded: a read, scan or write would wait too long.
        """
        if kind == "read" and units > SCAN_ROWS:
            kind = "scan"
        return await self._queues[kind].run(units, work, retry_token)

    @property
    def queues(self) -> list[QueueStats]:
        """Return the statistics of each queue."""
        return [queue.stats for queue in self._queues.values()]

    def close(self) -> None:
        """Start no more work, and let running work end."""
        for queue in self._queues.values():
            queue.close()
