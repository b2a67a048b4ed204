"""The EmbeddingCache deployment: a shim that gives one shard of the cache a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.metrics import CACHE, Published
from deployments.settings import ServeSettings
from embedder.cache.archive import ArchivedModel
from embedder.cache.memory import MemoryCache
from embedder.cache.records import Records
from embedder.types import CacheHits, Entries


class CacheShard:
    """Remembers entries for every ingress."""

    def __init__(self, settings: ServeSettings, name: str) -> None:
        self._name = name
        self._cache = MemoryCache(settings.cache.max_bytes, ttl_s=settings.cache.ttl_s)
        self._models: dict[str, ArchivedModel] = {}
        self._metrics = Published(CACHE)

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the entries that are there."""
        return self._cache.get_many(keys, width)

    async def put_many(
        self,
        keys: Sequence[bytes],
        entries: Entries,
        lives_s: NDArray[np.float64] | None = None,
    ) -> None:
        """Remember the entries."""
        self._cache.put_many(keys, entries, lives_s)

    async def stats(self) -> dict[str, Any]:
        """Return counters since the start, and what is held now of what may be held."""
        cache = self._cache
        return {
            **asdict(cache.stats),
            "age_s": cache.age_s,
            "max_bytes": cache.max_bytes,
            "shard": self._name,
            "store": None,
        }

    async def clear(self) -> int:
        """Forget everything and return how many entries that were."""
        return self._cache.clear()

    async def purge(self, tag: bytes) -> int:
        """Forget what is of one model and return how many entries that were."""
        return self._cache.purge(tag)

    async def keys(self) -> list[bytes]:
        """Return all keys, most recently used first."""
        return self._cache.keys()

    async def records(self, keys: Sequence[bytes]) -> list[Records]:
        """Return what is here of the keys, by width; that is no use of it."""
        return self._cache.records(keys)

    async def serves(self, model: ArchivedModel) -> None:
        """Take note of a model whose entries come here, by the name that clients call it."""
        self._models[model.tag] = model

    async def models(self) -> list[ArchivedModel]:
        """Return every model that entries have come of."""
        return list(self._models.values())

    async def check_health(self) -> None:
        """Publish the counters: Serve calls this every second."""
        self._metrics.publish(await self.stats())
