"""A real Redis server: hits are right, absent keys are misses, errors are `StageUnavailable`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedder.cache.store import redis_store
from embedder.cache.store.protocol import LocalStore, SharedStore
from embedder.cache.store.redis_store import PREFIX, RedisStore
from embedder.core.entries.blobs import RAGGED
from embedder.core.errors import MissingExtra, StageUnavailable
from tests.unit.cache.conftest import PASSWORD, RedisServer
from tests.unit.cache.known import OTHER_TAG, TAG, by_key, key, keys, records


@pytest.fixture
def store(redis: RedisServer) -> Iterator[RedisStore]:
    """Yield a store on a running server."""
    store = RedisStore(redis.url)
    store.open()
    yield store
    store.close()


def _client(store: RedisStore) -> Any:
    assert store._client is not None
    return store._client


def test_it_is_a_shared_store(redis: RedisServer) -> None:
    store = RedisStore(redis.url)

    assert isinstance(store, SharedStore)
    assert not isinstance(store, LocalStore)


@pytest.mark.parametrize("width", [384, RAGGED])
def test_another_client_finds_the_records(
    store: RedisStore, redis: RedisServer, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "_SENT_BYTES", 50)
    store.put_many(records([1, 2, 3], width))
    store.put_many(records([3], width, version=5))
    other = RedisStore(redis.url)
    other.open()

    found = other.get_many(keys([3, 9, 1]), width)

    assert by_key([found]) == by_key([records([1], width), records([3], width, version=5)])
    assert found.ttls_s.tolist() == [float("inf")] * 2
    other.close()


def test_a_row_of_another_width_is_a_miss(store: RedisStore) -> None:
    store.put_many(records([1], 4))

    assert len(store.get_many([key(1)], 5)) == len(store.get_many([key(1)], RAGGED)) == 0
    assert store.stats.corrupt == 0


def test_an_entry_expires_in_the_server(store: RedisStore) -> None:
    store.put_many(records([1], ttls_s=1000.0))
    store.put_many(records([2], ttls_s=0.0))

    left_ms = _client(store).pttl(PREFIX + key(1))
    found = store.get_many(keys([1, 2]), 4)

    assert 900_000 < left_ms <= 1_000_000
    assert found.keys == [key(1)]
    assert 900 < found.ttls_s[0] <= 1000


def test_damaged_and_foreign_values_are_dropped_and_counted(store: RedisStore) -> None:
    store.put_many(records([1, 2, 3]))
    client = _client(store)
    value = bytearray(client.get(PREFIX + key(1)))
    value[30] ^= 4
    client.set(PREFIX + key(1), bytes(value))
    client.set(PREFIX + key(2), client.get(PREFIX + key(3)))
    client.set(PREFIX + key(4), b"theirs")

    found = store.get_many(keys([1, 2, 3, 4]), 4)

    assert by_key([found]) == by_key([records([3])])
    assert store.stats.corrupt == 2


def test_purging_and_clearing_touch_nothing_else(store: RedisStore) -> None:
    awkward = b"*?[]\\^ab"
    client = _client(store)
    client.set(b"theirs", b"1")
    store.put_many(records(range(30)))
    store.put_many(records(range(30), tag=OTHER_TAG))
    store.put_many(records(range(30), tag=awkward))

    store.purge(awkward)
    assert len(store.get_many(keys(range(30), awkward), 4)) == 0
    assert len(store.get_many(keys(range(30), OTHER_TAG), 4)) == 30
    store.purge(TAG)
    assert client.dbsize() == 31
    store.clear()
    assert client.keys() == [b"theirs"]


def test_a_server_that_is_down_raises_unavailable_until_it_is_back(
    store: RedisStore, redis: RedisServer
) -> None:
    store.put_many(records([1]))
    redis.stop()
    for _ in range(2):
        with pytest.raises(StageUnavailable):
            store.get_many([key(1)], 4)
        with pytest.raises(StageUnavailable):
            store.put_many(records([1]))

    redis.start()
    store.put_many(records([1]))

    assert len(store.get_many([key(1)], 4)) == 1


def test_no_error_contains_the_password(
    redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = redis.url.replace(PASSWORD, "wrong-horse")
    nowhere = f"unix://:{PASSWORD}@{tmp_path}/nowhere"
    unknown = f"redis://user:{PASSWORD}@localhost:1/0"
    with caplog.at_level(logging.DEBUG):
        for url in (wrong, nowhere, unknown):
            store = RedisStore(url)
            with pytest.raises(StageUnavailable) as refused:
                store.open()

            shown = f"{refused.value.reason}{refused.value!r}{refused.value.__cause__!r}"
            assert "horse" not in shown
            assert not store.is_open
            with pytest.raises(StageUnavailable):
                store.get_many([key(1)], 4)
    assert "localhost:1" in refused.value.reason
    assert "horse" not in caplog.text


def test_no_keys_find_no_records(store: RedisStore) -> None:
    store.put_many(records([]))

    assert len(store.get_many([], 4)) == 0


def test_without_the_library_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(MissingExtra, match=r"cache\.url needs redis"):
        RedisStore("redis://localhost")
