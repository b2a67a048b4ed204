"""The EmbeddingCache deployment: a shim that gives one shard of the cache a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deployments.data import cache_directory
from deployments.metrics import CACHE, CACHE_STORE, MetricPublisher
from deployments.settings.service import ServeSettings
from embedder.cache.archive import ArchivedModel
from embedder.cache.opening import open_cache
from embedder.cache.store.records import Records
from embedder.core.types import CacheHits, Entries
from embedder.settings.model import CacheSettings


class CacheReplica:
    """Remembers entries for every ingress, and between runs where there is a place for that."""

    def __init__(self, settings: ServeSettings, name: str) -> None:
        self._name = name
        self._cache = open_cache(_placed(settings), name)
        self._models: dict[str, ArchivedModel] = {}
        self._served: dict[str, bytes] = {}
        self._metrics = MetricPublisher((*CACHE, *CACHE_STORE))
        self._started = False
        # Serve awaits this at a graceful stop. On the object and not in its class, so that the
        # interpreter does not call it, which awaits nothing.
        self.__del__ = self._cache.stop

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the entries that are there."""
        return await self._cache.get_many(keys, width)

    async def put_many(
        self,
        keys: Sequence[bytes],
        entries: Entries,
        ttls_s: NDArray[np.float64] | None = None,
    ) -> None:
        """Remember the entries."""
        await self._cache.put_many(keys, entries, ttls_s)

    async def stats(self) -> dict[str, Any]:
        """Return counters since the start, and what is held now of what may be held."""
        return {**self._cache.stats(), "shard": self._name}

    async def clear(self) -> int:
        """Forget everything and return how many entries that were."""
        return self._cache.clear()

    async def purge(self, tag: bytes) -> int:
        """Forget what is of one model and return how many entries that were."""
        return self._cache.purge(tag)

    async def keys(self) -> list[bytes]:
        """Return all keys, most recently used first."""
        return self._cache.memory.keys()

    async def records(self, keys: Sequence[bytes]) -> list[Records]:
        """Return what is here of the keys, by width; that is no use of it."""
        return self._cache.memory.records(keys)

    async def serves(self, model: ArchivedModel) -> None:
        """Take note of a model whose entries come here; what it had in another revision goes."""
        if self._models.get(model.tag) != model:
            self._models[model.tag] = model
            self._served[model.name] = bytes.fromhex(model.tag)
            self._cache.serves(self._served)

    async def models(self) -> list[ArchivedModel]:
        """Return every model that entries have come of."""
        return list(self._models.values())

    async def check_health(self) -> None:
        """Publish the counters: Serve calls this at the start, and then every second."""
        if not self._started:
            self._started = True
            await self._cache.start()
        told = await self.stats()
        self._metrics.publish({**(told["store"] or {}), **told})


def _placed(settings: ServeSettings) -> CacheSettings:
    """Return the cache's settings with the folder that the service keeps its data in."""
    directory = cache_directory(settings)
    if settings.cache.url is not None or directory is None:
        return settings.cache
    return settings.cache.model_copy(update={"directory": str(directory)})
