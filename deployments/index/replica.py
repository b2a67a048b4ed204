"""The VectorIndex deployment: runs one shard of the index in a process of its own.

The index works in threads, so the replica answers health checks during searches and writes. Reads,
scans and writes that would wait too long are refused before they start. The ingress admits
searches, and sends only a few calls at a time.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from deployments.data import claim_shards, claim_snapshots, index_directory
from deployments.index.client import ShardStats
from deployments.index.methods import METHODS, Method
from deployments.index.read_meter import ReadMeter
from deployments.logs.replica_log import configure_replica_log
from deployments.metrics.index import INDEX, INDEX_STORE
from deployments.metrics.publisher import MetricPublisher
from deployments.metrics.queues import QUEUES
from deployments.rpc.replica_name import replica_id
from deployments.settings.service import ServeSettings
from embedder.index.contract.health import IndexHealth
from embedder.index.storage.disk.lock import DirectoryLock
from embedder.index.vector_index import VectorIndex
from embedder.measurements.histogram import SECONDS, Histogram
from embedder.pipeline.reservations import retry_token_of
from embedder.pipeline.work_queue import WorkClass, WorkQueue

T = TypeVar("T")

SWITCH_S = 0.0005
"""Seconds that a thread may keep the interpreter while other threads wait for it.

With Python's default of 5 ms a search would wait 5 ms for every concurrent write or merge.
"""

SEARCH_THREADS = 4

SCAN_ROWS = 20_000
"""Reads of more rows are scans, which have separate threads, so that small reads do not wait."""


class IndexReplica:
    """Stores and searches the points of one shard.

    With a database (index.url) a shard may have several replicas, also on one node, where each has
    a folder of its own for snapshots.
    """

    def __init__(self, settings: ServeSettings, name: str) -> None:
        configure_replica_log(settings.logs)
        claim_shards(settings)
        sys.setswitchinterval(SWITCH_S)
        directory, self._lock = _own_folder(settings, name)
        shard = settings.index.model_copy(update={"directory": directory and str(directory)})
        self._name, self._replica = name, replica_id()
        self._follows = settings.index.url is not None
        self._index = VectorIndex(shard, name, settings.index.shards)
        self._queues = _queues(settings)
        self._call_seconds = {name: Histogram(SECONDS) for name in self._queues}
        self._reads = ReadMeter(SEARCH_THREADS)
        self._metrics, self._queue_metrics = (
            MetricPublisher((*INDEX, *INDEX_STORE)),
            MetricPublisher(QUEUES),
        )
        # Serve awaits this at a graceful stop. It is an attribute of the object and not of the
        # class, because the interpreter would call a class's `__del__` without awaiting it.
        self.__del__ = self._stop

    async def call(self, name: str, *arguments: Any) -> Any:
        """Run a method of `METHODS`, and return what its `pack` makes of the answer.

        Raises:
            KeyError: the table has no method of this name.
            Overloaded: the work before it takes too long.
            EmbedderError: the method raised it.
        """
        method = METHODS[name]
        work = partial(self._work, name, arguments)
        if method.threads == "loop" and not self._follows:
            return work()
        if method.threads == "pool":
            return await asyncio.to_thread(work)
        price = method.price(self._index, *arguments)
        threads = self._threads(method, price, arguments)
        queue = self._queues[threads]
        run = partial(queue.run, price, retry_token=partial(retry_token_of, name, arguments))
        with self._call_seconds[threads].time():
            if method.threads not in ("search", "read"):
                return await run(work)
            units = price if method.threads == "search" else 1
            with self._reads.queued(units):
                answer, seconds = await run(partial(_timed, work))
        self._reads.answered(units, seconds)
        return answer

    def _threads(self, method: Method, price: int, arguments: tuple[Any, ...]) -> str:
        """Return the class of work of a call."""
        if self._follows and method.consistency(*arguments) == "stale":
            return "stale"
        if method.threads == "read" and price > SCAN_ROWS:
            return "scan"
        return "read" if method.threads == "loop" else method.threads

    def _work(self, name: str, arguments: tuple[Any, ...]) -> Any:
        answer, pack = getattr(self._index, name)(*arguments), METHODS[name].pack
        return answer if pack is None else pack(answer, self._index, *arguments)

    async def stats(self) -> ShardStats:
        """Return the statistics of the shard, even if its data is damaged."""
        # On the event loop, like all methods that only read state in memory.
        stats = self._index.stats()
        return ShardStats(
            **vars(stats),
            shard=self._name,
            replica=self._replica,
            reads=self._reads.answers,
            queues=[queue.stats for queue in self._queues.values()],
        )

    async def health(self) -> IndexHealth:
        """Return at once whether the shard can be used, without a thread or the disk."""
        return self._index.health()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the reads that wait and were answered; Serve reports them to the controller."""
        return self._reads.report()

    async def check_health(self) -> None:
        """Publish the metrics; Serve calls this every second.

        A shard with damaged data stays healthy: a restart would not repair the data, and the shard
        reports the damage.
        """
        stats = await self.stats()
        self._queue_metrics.publish_queues(stats.queues)
        self._metrics.publish(
            {
                **vars(stats),
                **self._index.measurements().numbers(),
                "call_seconds": {f"index-{name}": one for name, one in self._call_seconds.items()},
                "ready": float(stats.status == "ready"),
                "recovery_s": stats.recovery.seconds,
                "points_from_store": stats.recovery.points_from_store,
            }
        )

    async def _stop(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for queue in self._queues.values():
            queue.close()
        self._index.close()
        if self._lock is not None:
            self._lock.close()


def _own_folder(settings: ServeSettings, name: str) -> tuple[Path | None, DirectoryLock | None]:
    """Return the folder of this replica, and its lock unless the store itself locks the folder."""
    root = index_directory(settings)
    if root is None or settings.index.url is None:
        return None if root is None else root / name, None
    lock = claim_snapshots(root / name)
    return lock.directory, lock


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.monotonic()
    return work(), time.monotonic() - began


def _queues(settings: ServeSettings) -> dict[str, WorkQueue]:
    """Return the threads of each class of work; the unit is a row, and a byte of a write."""
    wait_s, max_queued = settings.limits.max_wait_s, settings.index.max_queued_bytes
    classes = (
        WorkClass("index-search", SEARCH_THREADS, 1.0, math.inf),
        # What memory can answer has threads of its own: the others wait for a database that hangs.
        WorkClass("index-stale", SEARCH_THREADS, 1.0, math.inf),
        WorkClass("index-read", 2, 100_000.0, wait_s),
        WorkClass("index-scan", 2, 200_000.0, wait_s),
        # Many threads, because they wait for the disk, and writes that wait share one commit.
        WorkClass("index-write", 16, 1e6, wait_s, max_queued),
        # One thread: backups, exports and restores run one at a time.
        WorkClass("index-copy", 1, 1.0, math.inf),
    )
    return {kind.name.removeprefix("index-"): WorkQueue(kind) for kind in classes}
