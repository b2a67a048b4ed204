"""The VectorIndex deployment: runs one shard of the index in a process of its own.

The index works in threads, so the replica answers health checks during searches and writes.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from deployments.data import claim_shards, index_directory
from deployments.index.backups import ShardBackups
from deployments.index.client import ShardStats
from deployments.index.executors import IndexExecutors
from deployments.index.operator_methods import OperatorMethods
from deployments.metrics import INDEX, QUEUES, MetricPublisher
from deployments.rpc.pickled_rows import PickledRows
from deployments.rpc.replica_log import log_refusals_briefly
from deployments.settings.service import ServeSettings
from embedder.index.contract import pricing
from embedder.index.contract.filters import Filter
from embedder.index.contract.health import IndexHealth
from embedder.index.contract.points import (
    CollectionInfo,
    Deleted,
    Hit,
    Page,
    PointField,
    Points,
    Query,
    Record,
    Spec,
    StoredModel,
)
from embedder.index.vector_index import VectorIndex

SWITCH_S = 0.0005
"""Seconds that a thread may keep the interpreter while other threads wait for it.

With Python's default of 5 ms a search would wait 5 ms for every concurrent write or merge.
"""


class IndexReplica(OperatorMethods):
    """Stores and searches the points of one shard."""

    def __init__(self, settings: ServeSettings, name: str) -> None:
        log_refusals_briefly()
        claim_shards(settings)
        sys.setswitchinterval(SWITCH_S)
        root = index_directory(settings)
        directory = None if root is None else str(root / name)
        self._name = name
        self._index = VectorIndex(settings.index.model_copy(update={"directory": directory}))
        backups = ShardBackups(self._index, name, settings.index.shards)
        super().__init__(self._index, IndexExecutors(settings), backups)
        self._metrics, self._queue_metrics = MetricPublisher(INDEX), MetricPublisher(QUEUES)
        # Serve awaits this at a graceful stop. It is an attribute of the object and not of the
        # class, because the interpreter would call a class's `__del__` without awaiting it.
        self.__del__ = self._stop

    async def create(self, name: str, spec: Spec) -> CollectionInfo:
        """Create a collection, or confirm that it exists with this specification."""
        return await self._executors.write(1, self._index.lifecycle.create, name, spec)

    async def record_model(
        self, name: str, identity: str | None, model: StoredModel
    ) -> CollectionInfo:
        """Record the model that computes the vectors of a collection."""
        record = self._index.lifecycle.record_model
        return await self._executors.write(1, record, name, identity, model)

    async def drop(self, name: str, identity: str) -> None:
        """Delete the collection with this identity."""
        await self._executors.write(1, self._index.lifecycle.delete, name, identity)

    async def deleted(self, identities: Sequence[str]) -> list[str]:
        """Return those identities whose collections this shard has deleted."""
        return await asyncio.to_thread(self._index.lifecycle.deleted, identities)

    async def collections(self) -> list[CollectionInfo]:
        """Return the descriptions of all collections."""
        return self._index.collections()

    async def describe(self, name: str) -> CollectionInfo:
        """Return the description of a collection."""
        return self._index.describe(name)

    async def delete(self, name: str) -> None:
        """Delete a collection with all its points."""
        await self._executors.write(1, self._index.delete, name)

    async def upsert(self, name: str, points: Points, spec: Spec | None = None) -> int:
        """Store points and return the sequence number; ``spec`` describes the collection."""
        price = pricing.upsert_price(points)
        return await self._executors.write(price, self._index.upsert, name, points, spec)

    async def delete_points(self, name: str, ids: Sequence[str]) -> Deleted:
        """Delete those of the points that exist."""
        price = pricing.delete_price(len(ids))
        return await self._executors.write(price, self._index.delete_points, name, ids)

    async def delete_matching(self, name: str, condition: Filter) -> Deleted:
        """Delete all points that match a filter."""
        price = pricing.delete_matching_price(self._index.describe(name))
        return await self._executors.write(price, self._index.delete_matching, name, condition)

    async def fetch(
        self,
        name: str,
        ids: Sequence[str],
        include: Sequence[PointField],
        max_bytes: int | None = None,
    ) -> PickledRows[Record]:
        """Return those of the points that exist, in the order of ``ids``."""
        price = pricing.fetch_price(len(ids))
        return await self._executors.read(price, self._fetch, name, ids, include, max_bytes)

    async def count(self, name: str, condition: Filter | None) -> int:
        """Return the number of points, or of the points that match a filter."""
        price = pricing.count_price(self._index.describe(name), condition)
        return await self._executors.read(price, self._index.count, name, condition)

    async def scroll(
        self,
        name: str,
        cursor: str | None,
        limit: int,
        condition: Filter | None,
        include: Sequence[PointField],
        max_bytes: int | None = None,
    ) -> tuple[Page, PickledRows[Record]]:
        """Return a page of points without its records, and the records in insertion order."""
        price = pricing.page_price(self._index.describe(name), limit, condition)
        return await self._executors.read(
            price, self._scroll, name, cursor, limit, condition, include, max_bytes
        )

    async def search(
        self, queries: Sequence[Query]
    ) -> tuple[list[PickledRows[Hit]], list[CollectionInfo]]:
        """Answer several queries; also return the descriptions of their collections."""
        infos = [self._index.describe(name) for name in {query.collection for query in queries}]
        return await self._executors.search(len(queries), self._search, queries), infos

    async def stats(self) -> ShardStats:
        """Return the statistics of the shard, even if its data is damaged."""
        # On the event loop, like all methods that only read state in memory.
        stats = self._index.stats()
        return ShardStats(**vars(stats), shard=self._name, queues=self._executors.queues)

    async def health(self) -> IndexHealth:
        """Return at once whether the shard can be used, without a thread or the disk."""
        return self._index.health()

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
                "ready": float(stats.status == "ready"),
                "recovery_s": stats.recovery.seconds,
                "points_from_store": stats.recovery.points_from_store,
            }
        )

    # The next three methods run in threads, and pickle their rows there.

    def _fetch(self, *arguments: Any) -> PickledRows[Record]:
        return PickledRows.of(Record, self._index.fetch(*arguments))

    def _scroll(self, *arguments: Any) -> tuple[Page, PickledRows[Record]]:
        page = self._index.scroll(*arguments)
        return replace(page, records=[]), PickledRows.of(Record, page.records)

    def _search(self, queries: Sequence[Query]) -> list[PickledRows[Hit]]:
        return [PickledRows.of(Hit, hits) for hits in self._index.search(queries)]

    async def _stop(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._executors.close()
        self._index.close()
