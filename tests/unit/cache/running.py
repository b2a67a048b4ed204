"""A running cache with a test's store, and conditions to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from embedder.cache.persistent import PersistentCache
from embedder.settings.cache import CacheSettings
from tests.unit.cache.fake_stores import FakeLocalStore, FakeSharedStore
from tests.unit.cache.known import entries, keys
from tests.unit.fake_model import settle

ROOM = CacheSettings(max_bytes=2**20, autosave_s=0.01)
TIGHT = CacheSettings(max_bytes=32_000, autosave_s=0.01)
"""A budget for about a hundred entries."""
PATIENT = CacheSettings(max_bytes=2**20, autosave_s=60, autosave_entries=5)

Store = FakeLocalStore | FakeSharedStore


@asynccontextmanager
async def running(store: Store, settings: CacheSettings = ROOM) -> AsyncIterator[PersistentCache]:
    """Yield a started cache with a store, whose gate is opened before the stop."""
    cache = PersistentCache(settings, store)
    await cache.start()
    try:
        yield cache
    finally:
        store.gate.set()
        await cache.stop()


async def put(cache: PersistentCache, numbers: Sequence[int], version: int = 0) -> None:
    """Put the entries of numbers."""
    await cache.put_many(keys(numbers), entries(numbers, version=version))


async def queued_calls(cache: PersistentCache) -> None:
    """Wait until the store has been called as often as the cache wants by now."""
    await settle()
    assert cache._writer is not None
    await asyncio.get_running_loop().run_in_executor(cache._writer._thread, int)


def state_of(cache: PersistentCache) -> str:
    """Return the state of the store in one word."""
    return str(cache.stats()["store"]["state"])


def is_written(cache: PersistentCache) -> Callable[[], bool]:
    """Return the condition that no change waits to be written."""
    return lambda: state_of(cache) == "ready" and cache.stats()["store"]["dirty"] == 0
