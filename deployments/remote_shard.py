"""One shard of the index over its handle; concurrent searches travel together.

Knows nothing of other shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deployments.remote import Handle, Remote
from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.waiting import Terms
from embedder.index.points import Hit, Query

FLIGHT_QUERIES = 256


class RemoteShard:
    """One VectorIndex deployment."""

    def __init__(self, name: str, handle: Handle) -> None:
        self.name = name
        self._remote = Remote(name, handle)
        self._searches: Batcher[Query, list[Hit]] = Batcher(
            self._search, budget=Budget(max_tokens=FLIGHT_QUERIES), slots=2, cancels=True
        )

    async def call(self, deadline: float | None, method: str, *arguments: Any) -> Any:
        """Call a method of the shard."""
        return await self._remote.call(method, *arguments, deadline=deadline)

    async def search(self, queries: Sequence[Query], deadline: float | None) -> list[list[Hit]]:
        """Answer several queries."""
        return await self._searches.submit(queries, [1] * len(queries), deadline=deadline)

    async def _search(self, queries: list[Query], terms: Terms) -> list[list[Hit]]:
        answers: list[list[Hit]] = await self._remote.call(
            "search", queries, deadline=terms.deadline
        )
        return answers
