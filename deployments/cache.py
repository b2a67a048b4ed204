"""The EmbeddingCache deployment: a shim that gives the library's cache a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from deployments.settings import ServeSettings
from embedder.cache.memory import MemoryCache
from embedder.types import CacheHits, Entries


class CacheShard:
    """Remembers entries for every ingress."""

    def __init__(self, settings: ServeSettings) -> None:
        self._cache = MemoryCache(settings.cache.max_bytes)

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the entries that are there."""
        return self._cache.get_many(keys, width)

    async def put_many(self, keys: Sequence[bytes], entries: Entries) -> None:
        """Remember the entries."""
        self._cache.put_many(keys, entries)

    async def stats(self) -> dict[str, int]:
        """Return counters since the start, and what is held now of what may be held."""
        return {**asdict(self._cache.stats), "max_bytes": self._cache.max_bytes}

    async def clear(self) -> int:
        """Forget everything and return how many entries that were."""
        return self._cache.clear()
