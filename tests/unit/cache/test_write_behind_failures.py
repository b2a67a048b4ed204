"""A store that fails, is lost or has a bug: the cache keeps serving and writes later."""

from __future__ import annotations

import logging

import pytest

from embedder.cache import write_behind
from embedder.core.errors import StageUnavailable
from tests.unit.cache.fake_stores import FULL, FakeLocalStore
from tests.unit.cache.known import TAG, by_key, key, keys, records
from tests.unit.cache.running import (
    PATIENT,
    TIGHT,
    is_written,
    put,
    queued_calls,
    running,
    state_of,
)
from tests.unit.waiting import until


async def test_rejected_changes_are_served_and_written_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FakeLocalStore()
    async with running(store) as cache:
        await until(is_written(cache))
        store.failure = FULL
        with caplog.at_level(logging.ERROR):
            await put(cache, [1, 2])
            await until(lambda: cache.stats()["store"]["failures"] >= 3)
            await put(cache, [3])

        assert state_of(cache) == "failing"
        assert cache.stats()["store"]["dirty"] == 3
        assert (await cache.get_many(keys([1, 2, 3]), 4)).rows.tolist() == [0, 1, 2]
        assert caplog.messages == [
            "the cache store fails; the cache works from memory: the disk is full"
        ]

        store.failure = None
        await until(is_written(cache))
        assert store.rows == by_key([records([1, 2, 3])])


async def test_a_failing_store_is_not_called_at_every_put() -> None:
    store = FakeLocalStore()
    async with running(store, PATIENT) as cache:
        await until(is_written(cache))
        store.failure = FULL
        await put(cache, range(5))
        await until(lambda: state_of(cache) == "failing")
        asked = len(store.calls)
        for number in range(10, 20):
            await put(cache, [number])
            await queued_calls(cache)

        assert len(store.calls) == asked
        store.failure = None


async def test_a_store_that_cannot_be_opened_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write_behind, "REOPEN_S", 0.01)
    store = FakeLocalStore([records([9])])
    store.cannot_open = StageUnavailable("cache store", "in use by another process")
    async with running(store) as cache:
        await put(cache, [1])
        await until(lambda: store.calls.count("open") > 2)
        assert state_of(cache) == "unavailable"
        assert (await cache.get_many([key(1)], 4)).rows.tolist() == [0]

        store.cannot_open = None
        await until(is_written(cache))

        assert store.rows == by_key([records([1])])
        assert (await cache.get_many([key(9)], 4)).rows.tolist() == [0]


async def test_a_lost_store_is_written_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write_behind, "REOPEN_S", 0.01)
    store = FakeLocalStore()
    async with running(store) as cache:
        cache.serves({"a": TAG})
        await put(cache, range(50))
        await until(is_written(cache))
        store.served = {}
        store.lose_everything()
        await put(cache, [60])
        await until(lambda: is_written(cache)() and store.calls.count("open") == 2)

        assert store.rows == by_key([records([*range(50), 60])])
        assert store.served == {"a": TAG}


async def test_too_many_deleted_keys_clear_the_store_and_write_it_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write_behind, "MAX_DELETED_KEYS", 100)
    store = FakeLocalStore()
    async with running(store, TIGHT) as cache:
        await put(cache, [-1])
        await until(is_written(cache))
        store.failure = FULL
        for first in range(0, 600, 50):
            await put(cache, range(first, first + 50))
        assert cache.stats()["store"]["dirty"] > 500
        await until(lambda: cache.stats()["store"]["dirty"] <= 200)

        store.failure = None
        await until(is_written(cache))
        assert store.calls.count("clear") >= 1
        assert set(store.rows) == set(cache.memory.keys())


async def test_an_unexpected_error_costs_one_flush(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(write_behind, "REOPEN_S", 0.01)
    store = FakeLocalStore()
    async with running(store) as cache:
        await until(is_written(cache))
        store.failure = ZeroDivisionError("a bug")
        with caplog.at_level(logging.ERROR):
            await put(cache, [1])
            await until(lambda: cache.stats()["store"]["failures"] == 1)
        store.failure = None
        await put(cache, [2])
        await until(lambda: bool(store.rows))

        assert store.rows == by_key([records([2])])
        assert "ZeroDivisionError" in caplog.text


async def test_stopping_with_a_failing_store_logs_the_lost_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FakeLocalStore()
    with caplog.at_level(logging.ERROR):
        async with running(store) as cache:
            await until(is_written(cache))
            store.failure = FULL
            await put(cache, [1, 2])

    assert "2 changes of the cache are lost" in caplog.messages
