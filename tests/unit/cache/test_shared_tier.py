"""Caches with a shared store find entries of each other, and work without it if it is down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from embedder.cache.persistent import PersistentCache
from embedder.cache.store.circuit_breaker import PAUSE_S
from embedder.cache.store.lookup import StoreLookup
from embedder.cache.store.redis_store import RedisStore
from embedder.settings.cache import CacheSettings
from tests.unit.cache.conftest import RedisServer
from tests.unit.cache.fake_stores import FULL, FakeSharedStore
from tests.unit.cache.known import entries, key, keys, records, rows_of
from tests.unit.waiting import LONG_S, until

SETTINGS = CacheSettings(ttl_s=600, autosave_s=0.01)


@pytest.fixture(autouse=True)
def patient_lookups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no lookup count as failed because the machine is busy."""
    monkeypatch.setitem(StoreLookup.__init__.__kwdefaults__ or {}, "timeout_s", LONG_S)


@asynccontextmanager
async def _cache(store: RedisStore | FakeSharedStore) -> AsyncIterator[PersistentCache]:
    cache = PersistentCache(SETTINGS, store)
    await cache.start()
    try:
        await until(lambda: cache.stats()["store"]["state"] == "ready")
        yield cache
    finally:
        await cache.stop()


async def test_entries_of_one_cache_are_found_by_another(redis: RedisServer) -> None:
    async with _cache(RedisStore(redis.url)) as one, _cache(RedisStore(redis.url)) as other:
        await one.put_many(keys(range(10)), entries(range(10)), np.full(10, 50.0))
        await until(lambda: one.stats()["store"]["dirty"] == 0)
        await other.put_many(keys([3]), entries([3], version=7))

        asked = keys([20, 5, 3, 4, 5, 21])
        hits = await other.get_many(asked, 4)
        again = await other.get_many(asked, 4)

        expected = [*entries([5]).vectors.tolist(), *entries([3], version=7).vectors.tolist()]
        expected += entries([4, 5]).vectors.tolist()
        for found in (hits, again):
            assert found.rows.tolist() == [1, 2, 3, 4]
            assert found.entries.vectors.tolist() == expected
            assert found.ttls_s is not None
            assert [round(life, -1) for life in found.ttls_s] == [50, 600, 50, 50]
        lookups = other.stats()["store"]["lookup"]
        assert (lookups["found"], lookups["absent"]) == (3, 4)
        assert other.memory.stats.entries == 3


async def test_keys_in_memory_are_not_looked_up() -> None:
    store = FakeSharedStore()
    async with _cache(store) as cache:
        await cache.put_many(keys([1, 2]), entries([1, 2]))

        hits = await cache.get_many(keys([2, 1]), 4)

        assert rows_of(hits.entries) == rows_of(entries([2, 1]))
        assert "get_many" not in store.calls


async def test_found_entries_are_not_written_again() -> None:
    store = FakeSharedStore()
    store.put_many(records([1]))
    async with _cache(store) as cache:
        await cache.get_many([key(1)], 4)

        assert cache.stats()["store"]["dirty"] == 0
        assert cache.stats()["store"]["written"] == 0


async def test_a_killed_server_causes_misses_and_is_used_again_when_it_is_back(
    redis: RedisServer,
) -> None:
    now = 0.0
    cache = PersistentCache(SETTINGS, RedisStore(redis.url), clock=lambda: now)
    await cache.start()
    await cache.put_many(keys([1]), entries([1]))
    await until(lambda: cache.stats()["store"]["dirty"] == 0)
    redis.stop()

    for _ in range(8):
        hits = await cache.get_many(keys([1, 2]), 4)
        assert hits.rows.tolist() == [0]
    assert cache.stats()["store"]["lookup"]["circuit"] == "open"
    await cache.put_many(keys([3]), entries([3]))
    await until(lambda: cache.stats()["store"]["state"] == "failing")

    redis.start()
    now += PAUSE_S
    await until(lambda: cache.stats()["store"]["dirty"] == 0)
    async with _cache(RedisStore(redis.url)) as other:
        assert (await other.get_many(keys([3]), 4)).rows.tolist() == [0]
    assert (await cache.get_many(keys([4]), 4)).rows.tolist() == []
    assert cache.stats()["store"]["lookup"]["circuit"] == "closed"
    await cache.stop()


async def test_a_failing_lookup_returns_the_hits_of_memory() -> None:
    store = FakeSharedStore()
    async with _cache(store) as cache:
        await cache.put_many(keys([1]), entries([1]))
        store.failure = FULL

        hits = await cache.get_many(keys([2, 1]), 4)

        assert hits.rows.tolist() == [1]
        store.failure = None
