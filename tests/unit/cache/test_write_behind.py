"""Changes of memory reach the store in the background."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from embedder.cache import write_behind
from embedder.cache.persistent import PersistentCache
from embedder.core.errors import InvalidInput
from tests.unit.cache.fake_stores import FakeLocalStore, FakeSharedStore
from tests.unit.cache.known import OTHER_TAG, by_key, entries, keys, records
from tests.unit.cache.running import PATIENT, ROOM, TIGHT, Store, is_written, put, running, state_of
from tests.unit.waiting import until


@pytest.mark.parametrize("make", [FakeLocalStore, FakeSharedStore])
async def test_entries_are_written_in_the_background(make: Callable[[], Store]) -> None:
    store = make()
    async with running(store) as cache:
        await put(cache, [1, 2, 3])
        await put(cache, [2], version=7)
        await until(is_written(cache))

        assert store.rows == {**by_key([records([1, 3])]), **by_key([records([2], version=7)])}
        stats = cache.stats()["store"]
        assert stats["written"] >= 3
        assert stats["last_write_age_s"] >= 0


async def test_few_entries_wait_and_many_are_written_immediately() -> None:
    store = FakeLocalStore()
    async with running(store, PATIENT) as cache:
        await until(is_written(cache))
        await put(cache, [1, 2])
        await put(cache, [3, 4])
        assert "put_many" not in store.calls

        await put(cache, [5])
        await until(is_written(cache))

        assert store.rows == by_key([records([1, 2, 3, 4, 5])])


async def test_stopping_writes_the_remaining_changes_and_closes_the_store() -> None:
    store = FakeLocalStore()
    async with running(store, PATIENT) as cache:
        await until(is_written(cache))
        await put(cache, [1, 2])

    assert store.rows == by_key([records([1, 2])])
    assert store.calls[-1] == "close"
    assert state_of(cache) == "stopped"


async def test_entries_put_before_the_store_is_open_are_written_at_the_stop() -> None:
    store = FakeLocalStore()
    async with running(store, PATIENT) as cache:
        await put(cache, [1])

    assert store.rows == by_key([records([1])])


async def test_a_cache_that_was_never_started_stops() -> None:
    store = FakeLocalStore()
    cache = PersistentCache(ROOM, store)

    await cache.stop()

    assert store.calls == []


async def test_evicted_entries_are_deleted_from_a_local_store() -> None:
    store = FakeLocalStore()
    async with running(store, TIGHT) as cache:
        for first in range(0, 300, 50):
            await put(cache, range(first, first + 50))
        await until(is_written(cache))

        kept = cache.memory.keys()
        assert len(kept) < 300
        assert set(store.rows) == set(kept)


async def test_evicted_entries_stay_in_a_shared_store() -> None:
    store = FakeSharedStore()
    async with running(store, TIGHT) as cache:
        for first in range(0, 300, 50):
            await put(cache, range(first, first + 50))
            await until(is_written(cache))

        assert set(store.rows) == set(keys(range(300)))


async def test_purging_and_clearing_reach_the_store() -> None:
    store = FakeLocalStore()
    async with running(store) as cache:
        await put(cache, [1, 2])
        await cache.put_many(keys([3], OTHER_TAG), entries([3]))
        await until(is_written(cache))

        assert cache.purge(OTHER_TAG) == 1
        await until(is_written(cache))
        assert store.rows == by_key([records([1, 2])])

        assert cache.clear() == 2
        await put(cache, [4])
        await until(is_written(cache))
        assert store.rows == by_key([records([4])])


async def test_outdated_rows_are_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write_behind, "SPARE_ROWS", 0)
    store = FakeLocalStore()
    async with running(store) as cache:
        await put(cache, range(2))
        await cache.put_many(keys(range(2, 10), OTHER_TAG), entries(range(2, 10)))
        await until(is_written(cache))
        store.oldest_keys = keys([0, 1, 77])
        cache.purge(OTHER_TAG)

        await until(lambda: store.stats.rows <= 4)

        assert store.calls.count("renew") >= 1


def _refuse(*_: object) -> None:
    raise InvalidInput("keys", "are refused")


async def test_keys_that_memory_rejects_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    store = FakeLocalStore()
    async with running(store) as cache:
        await until(is_written(cache))
        monkeypatch.setattr(cache.memory, "put_many", _refuse)

        with pytest.raises(InvalidInput):
            await put(cache, [1])

        assert cache.stats()["store"]["dirty"] == 0
