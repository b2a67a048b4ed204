"""The VectorIndex deployment: a shim that gives the library's index a process of its own.

FAISS runs in threads, so the replica answers health checks while it searches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from embedder.index.points import CollectionInfo, Hit, Metric, Points, Query
from embedder.index.vector_index import VectorIndex


class IndexShard:
    """Holds and searches collections."""

    def __init__(self) -> None:
        self._index = VectorIndex()

    async def create(self, name: str, metric: Metric) -> CollectionInfo:
        """Create a collection, or confirm one that is there."""
        return self._index.create(name, metric)

    async def collections(self) -> list[CollectionInfo]:
        """Return what is known of every collection."""
        return await asyncio.to_thread(self._index.collections)

    async def describe(self, name: str) -> CollectionInfo:
        """Return what is known of a collection."""
        return await asyncio.to_thread(self._index.describe, name)

    async def delete(self, name: str) -> None:
        """Delete a collection with all its points."""
        await asyncio.to_thread(self._index.delete, name)

    async def upsert(self, name: str, points: Points) -> int:
        """Set points of a collection and return its sequence number."""
        return await asyncio.to_thread(self._index.upsert, name, points)

    async def search(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """Answer several queries."""
        return await asyncio.to_thread(self._index.search, queries)
