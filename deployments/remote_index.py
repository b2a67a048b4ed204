"""The index over handles: concurrent searches travel together.

Knows nothing of how vectors are kept or found.
"""

from __future__ import annotations

from collections.abc import Sequence

from deployments.remote import Handle, Remote
from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.waiting import Terms
from embedder.index.points import CollectionInfo, Hit, Metric, Points, Query

FLIGHT_QUERIES = 256


class RemoteIndex:
    """A VectorIndex deployment; concurrent searches travel together."""

    def __init__(self, handle: Handle) -> None:
        self._remote = Remote("VectorIndex-0", handle)
        self._searches: Batcher[Query, list[Hit]] = Batcher(
            self._search, budget=Budget(max_tokens=FLIGHT_QUERIES), slots=2, cancels=True
        )

    async def search(self, queries: Sequence[Query], deadline: float | None) -> list[list[Hit]]:
        """Answer several queries."""
        return await self._searches.submit(queries, [1] * len(queries), deadline=deadline)

    async def upsert(self, name: str, points: Points, deadline: float | None) -> int:
        """Set points of a collection and return its sequence number."""
        return int(await self._remote.call("upsert", name, points, deadline=deadline))

    async def create(self, name: str, metric: Metric, deadline: float | None) -> CollectionInfo:
        """Create a collection, or confirm one that is there."""
        info: CollectionInfo = await self._remote.call("create", name, metric, deadline=deadline)
        return info

    async def collections(self, deadline: float | None) -> list[CollectionInfo]:
        """Return what is known of every collection."""
        infos: list[CollectionInfo] = await self._remote.call("collections", deadline=deadline)
        return infos

    async def describe(self, name: str, deadline: float | None) -> CollectionInfo:
        """Return what is known of a collection."""
        info: CollectionInfo = await self._remote.call("describe", name, deadline=deadline)
        return info

    async def delete(self, name: str, deadline: float | None) -> None:
        """Delete a collection with all its points."""
        await self._remote.call("delete", name, deadline=deadline)

    async def _search(self, queries: list[Query], terms: Terms) -> list[list[Hit]]:
        answers: list[list[Hit]] = await self._remote.call(
            "search", queries, deadline=terms.deadline
        )
        return answers
