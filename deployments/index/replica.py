"""The VectorIndex deployment: a shim that gives one shard of the index a process of its own.

The index works in threads, so the replica answers health checks while it searches or writes.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from deployments.data import claim_shards, index_directory
from deployments.index.backups import ShardBackups
from deployments.index.executors import IndexExecutors
from deployments.metrics import INDEX, QUEUES, MetricPublisher
from deployments.rpc.pickled_rows import PickledRows
from deployments.rpc.replica_log import log_refusals_briefly
from deployments.settings.service import ServeSettings
from embedder.core.types import Vectors
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
from embedder.index.contract.pricing import (
    count_price,
    delete_matching_price,
    delete_price,
    fetch_price,
    page_price,
    upsert_price,
)
from embedder.index.reembedding import StagedCollection
from embedder.index.storage.staging import PAGE_POINTS, OutdatedPoint
from embedder.index.vector_index import VectorIndex

SWITCH_S = 0.0005
"""How long a thread keeps the interpreter that others wait for.

With Python's default of 5 ms a search would wait as long for every writer or merge beside it.
"""


class IndexReplica:
    """Keeps and searches the points of its share."""

    def __init__(self, settings: ServeSettings, name: str) -> None:
        log_refusals_briefly()
        claim_shards(settings)
        sys.setswitchinterval(SWITCH_S)
        root = index_directory(settings)
        directory = None if root is None else str(root / name)
        self._name = name
        self._index = VectorIndex(settings.index.model_copy(update={"directory": directory}))
        self._copies = ShardBackups(self._index, name, settings.index.shards)
        self._reembedding = self._index.lifecycle.reembedding
        self._work = IndexExecutors(settings)
        self._metrics, self._queue_metrics = MetricPublisher(INDEX), MetricPublisher(QUEUES)
        # Serve awaits this at a graceful stop. On the object and not in its class, so that the
        # interpreter does not call it, which awaits nothing.
        self.__del__ = self._stop

    async def create(self, name: str, spec: Spec) -> CollectionInfo:
        """Create a collection, or confirm one that is there."""
        return await self._work.write(1, self._index.lifecycle.create, name, spec)

    async def record_model(
        self, name: str, identity: str | None, model: StoredModel
    ) -> CollectionInfo:
        """Record the model that computes the vectors of a collection."""
        record = self._index.lifecycle.record_model
        return await self._work.write(1, record, name, identity, model)

    async def drop(self, name: str, identity: str) -> None:
        """Delete the collection of this identity."""
        await self._work.write(1, self._index.lifecycle.drop, name, identity)

    async def deleted(self, identities: Sequence[str]) -> list[str]:
        """Return those of the identities whose collections were deleted here."""
        return await asyncio.to_thread(self._index.lifecycle.deleted, identities)

    async def collections(self) -> list[CollectionInfo]:
        """Return what is known of every collection."""
        return self._index.collections()

    async def describe(self, name: str) -> CollectionInfo:
        """Return what is known of a collection."""
        return self._index.describe(name)

    async def delete(self, name: str) -> None:
        """Delete a collection with all its points."""
        await self._work.write(1, self._index.delete, name)

    async def upsert(self, name: str, points: Points, spec: Spec | None = None) -> int:
        """Set points and return the sequence number; the collection is as ``spec`` says."""
        return await self._work.write(upsert_price(points), self._index.upsert, name, points, spec)

    async def delete_points(self, name: str, ids: Sequence[str]) -> Deleted:
        """Delete those of the points that are there."""
        price = delete_price(len(ids))
        return await self._work.write(price, self._index.delete_points, name, ids)

    async def delete_matching(self, name: str, condition: Filter) -> Deleted:
        """Delete all points that meet a filter."""
        price = delete_matching_price(self._index.describe(name))
        return await self._work.write(price, self._index.delete_matching, name, condition)

    async def fetch(
        self,
        name: str,
        ids: Sequence[str],
        include: Sequence[PointField],
        max_bytes: int | None = None,
    ) -> PickledRows[Record]:
        """Return those of the points that are stored, in the order asked for."""
        price = fetch_price(len(ids))
        return await self._work.read(price, self._fetch, name, ids, include, max_bytes)

    async def count(self, name: str, condition: Filter | None) -> int:
        """Return how many points there are, or how many meet a filter."""
        price = count_price(self._index.describe(name), condition)
        return await self._work.read(price, self._index.count, name, condition)

    async def scroll(
        self,
        name: str,
        cursor: str | None,
        limit: int,
        condition: Filter | None,
        include: Sequence[PointField],
        max_bytes: int | None = None,
    ) -> tuple[Page, PickledRows[Record]]:
        """Return a page of points without its records, and those in the order of insertion."""
        price = page_price(self._index.describe(name), limit, condition)
        return await self._work.read(
            price, self._scroll, name, cursor, limit, condition, include, max_bytes
        )

    async def search(
        self, queries: Sequence[Query]
    ) -> tuple[list[PickledRows[Hit]], list[CollectionInfo]]:
        """Answer several queries; return what is known of their collections beside the hits."""
        infos = [self._index.describe(name) for name in {query.collection for query in queries}]
        return await self._work.search(len(queries), self._search, queries), infos

    async def back_up(self, name: str, folder: Path) -> int:
        """Copy this share of a collection into a folder of this node; return its points."""
        return await self._work.copy(self._copies.back_up, name, folder)

    async def finish_backup(self, folder: Path) -> None:
        """Note that every shard has backed up its share."""
        await self._work.copy(self._copies.finish_backup, folder)

    async def restore(
        self, folder: Path, name: str, identity: str, replacing: bool = False
    ) -> CollectionInfo:
        """Make a collection of the share that a folder of this node has."""
        restore = partial(self._copies.restore, folder, name, identity, replacing=replacing)
        return await self._work.copy(restore)

    async def export(self, name: str, file: Path) -> int:
        """Write this share of a collection to Parquet on this node; return its points."""
        return await self._work.copy(self._copies.export, name, file)

    async def count_without_text(self, name: str) -> int:
        """Return how many points of a collection have no text."""
        return await self._work.copy(self._reembedding.count_without_text, name)

    async def staged(self, name: str) -> StagedCollection | None:
        """Return the identity and model of a collection's staged replacement, or None."""
        return await self._work.read(1, self._reembedding.staged, name)

    async def begin_staged(self, name: str, source: str, spec: Spec) -> StagedCollection:
        """Return the staged replacement of a collection; create it if it is missing."""
        return await self._work.write(1, self._reembedding.begin, name, source, spec)

    async def outdated(self, name: str, identity: str, after: int) -> list[OutdatedPoint]:
        """Return points whose current text has no vector in the staged collection."""
        return await self._work.read(PAGE_POINTS, self._reembedding.outdated, name, identity, after)

    async def fill_staged(
        self, name: str, identity: str, points: Sequence[OutdatedPoint], vectors: Vectors
    ) -> None:
        """Set the vectors of points in the staged collection."""
        size = int(vectors.nbytes)
        await self._work.write(size, self._reembedding.fill, name, identity, points, vectors)

    async def freeze(self, name: str, identity: str, dropping: bool) -> None:
        """Let the collection take no writes until its staged collection has replaced it."""
        await self._work.write(1, self._reembedding.freeze, name, identity, dropping)

    async def switch(self, name: str, identity: str) -> None:
        """Let the staged collection replace its collection."""
        await self._work.write(1, self._reembedding.switch, name, identity)

    async def discard_staged(self, name: str, identity: str) -> None:
        """Delete the staged collection of this identity, if there is one."""
        await self._work.write(1, self._reembedding.discard, name, identity)

    async def stats(self) -> dict[str, Any]:
        """Return how the shard is, also where it can do nothing else."""
        # In the event loop, as everything that only reads state: it waits for no thread.
        stats = asdict(self._index.stats())
        return {"shard": self._name, **stats, "queues": self._work.queues}

    async def health(self) -> IndexHealth:
        """Return whether the shard can be used, at once: no thread and no disk is needed for it."""
        return self._index.health()

    async def check_health(self) -> None:
        """Publish how the shard is: Serve calls this every second.

        One whose data is damaged is not restarted: that mends nothing, and it says what is wrong.
        """
        told = await self.stats()
        recovery = told["recovery"]
        self._queue_metrics.publish_queues(told["queues"])
        self._metrics.publish(
            {
                **told,
                "ready": float(told["status"] == "ready"),
                "recovery_s": recovery["seconds"],
                "replayed": recovery["replayed"],
            }
        )

    # These run in a thread, and pack there.

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
        self._work.close()
        self._index.close()
