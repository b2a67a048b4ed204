"""The EmbeddingCache deployment: runs one shard of the cache in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.data import cache_directory
from deployments.logs.replica_log import configure_replica_log
from deployments.metrics.cache import CACHE, CACHE_STORE
from deployments.metrics.publisher import MetricPublisher
from deployments.settings.service import ServeSettings
from embedder.cache.archive_format import ArchivedModel
from embedder.cache.opening import open_store
from embedder.cache.persistent import PersistentCache
from embedder.cache.store.records import Records
from embedder.core.entries.blobs import RAGGED
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.entries import Entries
from embedder.settings.cache import CacheSettings

ANSWER_BYTES = 32 * 2**20
"""The most bytes of rows in one answer: a caller does not know the lengths of the rows."""


class CacheReplica:
    """Stores entries for all ingress replicas; with a directory or a Redis, also between runs."""

    def __init__(self, settings: ServeSettings, name: str) -> None:
        configure_replica_log(settings.logs)
        self._name = name
        cache = _cache_settings(settings)
        self._cache = PersistentCache(cache, open_store(cache, name))
        self._models: dict[str, ArchivedModel] = {}
        self._served: dict[str, bytes] = {}
        self._metrics = MetricPublisher((*CACHE, *CACHE_STORE))
        self._started = False
        # Serve awaits this at a graceful stop. It is an attribute of the object and not of the
        # class, because the interpreter would call a class's `__del__` without awaiting it.
        self.__del__ = self._cache.stop

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the stored entries of these keys.

        Rows of different lengths above `ANSWER_BYTES` are left out, and so are misses.
        """
        hits = await self._cache.get_many(keys, width)
        return hits.within(ANSWER_BYTES) if width == RAGGED else hits

    async def put_many(
        self,
        keys: Sequence[bytes],
        entries: Entries,
        ttls_s: NDArray[np.float64] | None = None,
    ) -> None:
        """Store entries; ``ttls_s`` are the seconds until each expires."""
        await self._cache.put_many(keys, entries, ttls_s)

    async def stats(self) -> dict[str, Any]:
        """Return the counters since the start, and the present size with its limit."""
        return {**self._cache.stats(), "shard": self._name}

    async def clear(self) -> int:
        """Delete all entries and return their number."""
        return self._cache.clear()

    async def purge(self, tag: bytes) -> int:
        """Delete the entries of one model and return their number."""
        return self._cache.purge(tag)

    async def keys(self) -> list[bytes]:
        """Return all keys, most recently used first."""
        return self._cache.memory.keys()

    async def records(self, keys: Sequence[bytes]) -> list[Records]:
        """Return the stored entries of these keys by width; this does not count as a use."""
        return self._cache.memory.records(keys)

    async def serves(self, model: ArchivedModel) -> None:
        """Register a model whose entries are stored here; delete entries of its other revisions."""
        if self._models.get(model.tag) != model:
            self._models[model.tag] = model
            self._served[model.name] = bytes.fromhex(model.tag)
            self._cache.serves(self._served)

    async def models(self) -> list[ArchivedModel]:
        """Return every registered model."""
        return list(self._models.values())

    async def check_health(self) -> None:
        """Publish the metrics; Serve calls this at the start, and then every second."""
        if not self._started:
            self._started = True
            await self._cache.start()
        stats = await self.stats()
        self._metrics.publish({**(stats["store"] or {}), **stats})


def _cache_settings(settings: ServeSettings) -> CacheSettings:
    """Return the cache's settings with the service's cache folder filled in."""
    directory = cache_directory(settings)
    if settings.cache.url is not None or directory is None:
        return settings.cache
    return settings.cache.model_copy(update={"directory": str(directory)})
