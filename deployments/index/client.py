"""One shard of the index through its handle; concurrent searches share one call."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from deployments.rpc import message_size
from deployments.rpc.handle_client import Handle, HandleClient
from deployments.rpc.pickled_rows import PickledRows
from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.core.deadline import Deadline
from embedder.index.contract.filters import Filter
from embedder.index.contract.health import IndexStats
from embedder.index.contract.points import (
    CollectionInfo,
    Hit,
    Page,
    PointField,
    Points,
    Query,
    Record,
    Spec,
)
from embedder.pipeline.threads import QueueStats

CALL_QUERIES = 256
"""The most queries of one call, which is also limited by ``GATHERED_BYTES``."""

MAX_SEARCHED = 10_000
"""The most collections whose descriptions are kept."""


@dataclass(frozen=True)
class ShardStats(IndexStats):
    """The statistics of one shard, with its name and its queues.

    ``problem`` names the damaged collections, or says why the shard is not ready, and the remedy.
    ``damaged_snapshots`` were renamed, and built again from the store; ``save_failures`` counts
    snapshots that could not be written.
    """

    shard: str
    queues: list[QueueStats]


class RemoteShard:
    """One VectorIndex deployment.

    ``searched`` has the description of each collection, by name, at its last search.
    """

    def __init__(self, name: str, handle: Handle) -> None:
        self.name = name
        self.searched: dict[str, CollectionInfo] = {}
        self._client = HandleClient(name, handle)
        self._searches: Batcher[Query, tuple[PickledRows[Hit], float]] = Batcher(
            self._search,
            budget=Budget(message_size.GATHERED_BYTES, max_items=CALL_QUERIES),
            slots=2,
            cancel_abandoned=True,
        )

    @property
    def waiting(self) -> int:
        """Return the number of queries that wait to be sent."""
        return len(self._searches)

    async def call(self, deadline: Deadline, method: str, *arguments: Any, size: int = 0) -> Any:
        """Call a method of the shard; ``size`` is as for `HandleClient.call`."""
        return await self._client.call(method, *arguments, size=size, deadline=deadline)

    async def upsert(self, deadline: Deadline, name: str, points: Points, *spec: Spec) -> int:
        """Store points and return the sequence number."""
        size = message_size.points_bytes(points)
        return int(await self.call(deadline, "upsert", name, points, *spec, size=size))

    async def fetch(
        self,
        deadline: Deadline,
        name: str,
        ids: Sequence[str],
        include: Sequence[PointField],
        max_bytes: int | None,
    ) -> list[Record]:
        """Return those of the points that exist."""
        size = message_size.records_bytes(len(ids), include)
        records: PickledRows[Record] = await self.call(
            deadline, "fetch", name, ids, include, max_bytes, size=size
        )
        return await records.unpickled()

    async def scroll(
        self,
        deadline: Deadline,
        name: str,
        position: tuple[str | None, int, Filter | None],
        include: Sequence[PointField],
        max_bytes: int | None,
    ) -> Page:
        """Return a page; ``position`` is the cursor, the limit, and the filter."""
        size = message_size.records_bytes(position[1], include)
        page: Page
        records: PickledRows[Record]
        page, records = await self.call(
            deadline, "scroll", name, *position, include, max_bytes, size=size
        )
        return replace(page, records=await records.unpickled())

    async def search(
        self, queries: Sequence[Query], deadline: Deadline, sent_at: list[float] | None = None
    ) -> list[PickledRows[Hit]]:
        """Answer several queries; append the time at which each was sent to ``sent_at``."""
        sizes = list(map(message_size.query_bytes, queries))
        answers = await self._searches.submit(queries, sizes, deadline=deadline)
        if sent_at is not None:
            sent_at += [sent_s for _, sent_s in answers]
        return [hits for hits, _ in answers]

    async def _search(
        self, queries: list[Query], context: BatchContext
    ) -> list[tuple[PickledRows[Hit], float]]:
        sent_s = time.monotonic()
        answers: list[PickledRows[Hit]]
        infos: list[CollectionInfo]
        answers, infos = await self._client.call(
            "search",
            queries,
            size=sum(map(message_size.query_bytes, queries)),
            deadline=context.deadline,
        )
        if len(self.searched) > MAX_SEARCHED:
            self.searched.clear()
        self.searched.update((info.name, info) for info in infos)
        return [(hits, sent_s) for hits in answers]
