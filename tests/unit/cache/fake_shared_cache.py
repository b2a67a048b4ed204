"""A shared cache whose calls take time or fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from embedder.cache.memory import MemoryCache
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.entries import Entries

WIDTH = 3
KEYS = [b"a" * 32, b"b" * 32]
ENTRIES = Entries(
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.array([4, 5], np.int32),
    np.array([True, False]),
)


class FakeSharedCache:
    """A cache whose calls take time or fail."""

    def __init__(self, *, delay_s: float = 0.0, failure: Exception | None = None) -> None:
        self.memory = MemoryCache(2**20)
        self.cancelled = 0
        self.inserted: list[tuple[int, ...]] = []
        self.delay_s = delay_s
        self._failure = failure

    def mend(self) -> None:
        """Fail no more."""
        self._failure = None

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        await self._travel()
        return self.memory.get_many(keys, width)

    async def put_many(self, keys: Sequence[bytes], entries: Entries) -> None:
        await self._travel()
        self.inserted.append(entries.vectors.shape)
        self.memory.put_many(keys, entries)

    async def _travel(self) -> None:
        try:
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self._failure is not None:
            raise self._failure


async def settle() -> None:
    """Wait for all other tasks."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)
