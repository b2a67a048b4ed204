"""Records of a store are loaded while the cache answers; newer entries stay."""

from __future__ import annotations

import pytest

from embedder.cache import write_behind
from embedder.settings.cache import CacheSettings
from tests.unit.cache.fake_stores import FakeLocalStore
from tests.unit.cache.known import OTHER_TAG, by_key, entries, key, keys, records, rows_of
from tests.unit.cache.running import TIGHT, is_written, put, running, state_of
from tests.unit.waiting import until

SAVED = [records(range(first, first + 10)) for first in range(0, 50, 10)]


async def test_starting_does_not_wait_and_entries_not_loaded_yet_are_misses() -> None:
    store = FakeLocalStore(SAVED)
    store.gate.clear()
    async with running(store) as cache:
        assert state_of(cache) == "opening"
        assert (await cache.get_many([key(1)], 4)).rows.tolist() == []

        store.gate.set()
        await until(is_written(cache))

        hits = await cache.get_many(keys(range(50)), 4)
        assert rows_of(hits.entries) == rows_of(entries(range(50)))
        stats = cache.stats()["store"]
        assert (stats["loaded"], stats["total"]) == (50, 50)


async def test_entries_put_while_loading_are_newer_than_loaded_ones() -> None:
    store = FakeLocalStore(SAVED)
    store.gate.clear()
    async with running(store) as cache:
        await put(cache, [1, 60], version=5)
        store.gate.set()
        await until(is_written(cache))

        hits = await cache.get_many(keys([0, 1, 60]), 4)
        assert hits.entries.vectors[:, -1].tolist() == [0, 5, 5]


async def test_entries_purged_while_loading_are_not_loaded() -> None:
    saved = [records(range(5)), records([7], tag=OTHER_TAG), records([8])]
    store = FakeLocalStore(saved)
    store.gate.clear()
    async with running(store) as cache:
        cache.purge(OTHER_TAG)
        store.gate.set()
        await until(is_written(cache))

        assert set(cache.memory.keys()) == set(keys([0, 1, 2, 3, 4, 8]))


async def test_no_entries_from_before_clearing_are_loaded() -> None:
    store = FakeLocalStore(SAVED)
    store.gate.clear()
    async with running(store) as cache:
        cache.clear()
        await put(cache, [60])
        store.gate.set()
        await until(lambda: "clear" in store.calls)

        assert set(cache.memory.keys()) <= set(keys([60]))


async def test_writing_does_not_wait_for_the_end_of_loading() -> None:
    store = FakeLocalStore(SAVED * 20)
    async with running(store, CacheSettings(max_bytes=2**20, autosave_s=0.001)) as cache:
        await put(cache, [60])
        await until(lambda: "put_many" in store.calls)
        await until(is_written(cache))

    written = store.calls.index("put_many")
    assert "load" in store.calls[:written]
    assert "load" in store.calls[written:]


async def test_loading_stops_at_the_memory_budget() -> None:
    store = FakeLocalStore([records(range(first, first + 40)) for first in range(0, 400, 40)])
    async with running(store, TIGHT) as cache:
        await until(is_written(cache))

        stats = cache.memory.stats
        assert stats.bytes <= TIGHT.max_bytes
        assert stats.evicted == 0
        assert set(cache.memory.keys()) == set(keys(range(stats.entries)))


async def test_loading_starts_again_after_a_read_error() -> None:
    store = FakeLocalStore(SAVED)
    store.fails_after = 3
    async with running(store) as cache:
        await until(is_written(cache))

        assert cache.stats()["store"]["failures"] == 1
        assert by_key(cache.memory.records(keys(range(50)))) == by_key(SAVED)


async def test_stopping_does_not_wait_for_the_end_of_loading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write_behind, "SPARE_ROWS", 0)
    store = FakeLocalStore(SAVED * 1000)
    async with running(store) as cache:
        await put(cache, [60])
        await until(lambda: "load" in store.calls)

    assert store.calls.count("load") < len(store.saved)
    assert store.rows == by_key([records([60])])
    assert "renew" not in store.calls  # rows that are not loaded yet are not outdated
