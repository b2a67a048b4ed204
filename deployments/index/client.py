"""One shard of the index over its handle; concurrent searches travel together.

Knows nothing of other shards.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from deployments.rpc import message_size
from deployments.rpc.packed import Packed
from deployments.rpc.remote import Handle, Remote
from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.index.contract.filters import Filter
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

FLIGHT_QUERIES = 256
"""Queries in one call, which also ends at ``GATHERED_BYTES``."""

MAX_SEARCHED = 10_000
"""Collections whose descriptions are kept."""


class RemoteShard:
    """One VectorIndex deployment.

    ``searched`` are the collections, by name, as they were when last searched.
    """

    def __init__(self, name: str, handle: Handle) -> None:
        self.name = name
        self.searched: dict[str, CollectionInfo] = {}
        self._remote = Remote(name, handle)
        self._searches: Batcher[Query, tuple[Packed[Hit], float]] = Batcher(
            self._search,
            budget=Budget(message_size.GATHERED_BYTES, max_items=FLIGHT_QUERIES),
            slots=2,
            cancel_abandoned=True,
        )

    @property
    def waiting(self) -> int:
        """Return how many queries wait to be sent."""
        return len(self._searches)

    async def call(
        self, deadline: float | None, method: str, *arguments: Any, size: int = 0
    ) -> Any:
        """Call a method of the shard, with arguments or an answer of about ``size`` bytes."""
        return await self._remote.call(method, *arguments, size=size, deadline=deadline)

    async def upsert(self, deadline: float | None, name: str, points: Points, *spec: Spec) -> int:
        """Set points and return the sequence number."""
        size = message_size.of_points(points)
        return int(await self.call(deadline, "upsert", name, points, *spec, size=size))

    async def fetch(
        self,
        deadline: float | None,
        name: str,
        ids: Sequence[str],
        include: Sequence[PointField],
        max_bytes: int | None,
    ) -> list[Record]:
        """Return those of the points that are stored."""
        size = message_size.of_records(len(ids), include)
        records: Packed[Record] = await self.call(
            deadline, "fetch", name, ids, include, max_bytes, size=size
        )
        return await records.unpacked()

    async def scroll(
        self,
        deadline: float | None,
        name: str,
        wanted: tuple[str | None, int, Filter | None],
        include: Sequence[PointField],
        max_bytes: int | None,
    ) -> Page:
        """Return a page; ``wanted`` is the cursor, the most points, and what they must meet."""
        size = message_size.of_records(wanted[1], include)
        page: Page
        records: Packed[Record]
        page, records = await self.call(
            deadline, "scroll", name, *wanted, include, max_bytes, size=size
        )
        return replace(page, records=await records.unpacked())

    async def search(
        self, queries: Sequence[Query], deadline: float | None, begun: list[float] | None = None
    ) -> list[Packed[Hit]]:
        """Answer several queries; append to ``begun`` when the call for each was sent."""
        sizes = list(map(message_size.of_query, queries))
        told = await self._searches.submit(queries, sizes, deadline=deadline)
        if begun is not None:
            begun += [began_s for _, began_s in told]
        return [hits for hits, _ in told]

    async def _search(
        self, queries: list[Query], context: BatchContext
    ) -> list[tuple[Packed[Hit], float]]:
        began_s = time.monotonic()
        answers: list[Packed[Hit]]
        infos: list[CollectionInfo]
        answers, infos = await self._remote.call(
            "search",
            queries,
            size=sum(map(message_size.of_query, queries)),
            deadline=context.deadline,
        )
        if len(self.searched) > MAX_SEARCHED:
            self.searched.clear()
        self.searched.update((info.name, info) for info in infos)
        return [(hits, began_s) for hits in answers]
