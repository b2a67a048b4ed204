"""The SQLite store: loading, renewing, and calls that change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedder.cache.store.protocol import LocalStore, SharedStore
from embedder.cache.store.records import Records
from embedder.cache.store.sqlite_store import CHUNK_ROWS, SqliteStore
from embedder.core.errors import StageUnavailable
from tests.unit.cache.known import OTHER_TAG, TAG, by_key, key, keys, records


def _open(path: Path) -> SqliteStore:
    store = SqliteStore(path / "a.sqlite")
    store.open()
    return store


def test_it_is_a_local_store_and_not_a_shared_one(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.sqlite")

    assert isinstance(store, LocalStore)
    assert not isinstance(store, SharedStore)


def test_the_newest_records_are_loaded_first(tmp_path: Path) -> None:
    store = _open(tmp_path)
    for first in range(0, 3000, 300):
        store.put_many(records(range(first, first + 300)))

    loaded = [name for given in store.load() for name in given.keys]

    assert loaded == keys(range(2999, -1, -1))
    store.close()


def test_loading_ignores_new_records_and_skips_deleted_keys(tmp_path: Path) -> None:
    store = _open(tmp_path)
    store.put_many(records(range(CHUNK_ROWS)))
    store.put_many(records(range(CHUNK_ROWS, 2 * CHUNK_ROWS)))
    chunks = store.load()
    first = next(chunks)

    store.put_many(records([5000]))
    store.put_many(records([1], version=1))
    store.delete_many(keys([2]))
    rest = by_key(chunks)

    assert set(first.keys) == set(keys(range(CHUNK_ROWS, 2 * CHUNK_ROWS)))
    assert set(rest) == set(keys(range(CHUNK_ROWS))) - {key(2)}
    assert set(by_key(store.load())) == set(keys(range(2 * CHUNK_ROWS))) - {key(2)} | {key(5000)}
    store.close()


def test_loading_stops_when_the_store_is_cleared(tmp_path: Path) -> None:
    store = _open(tmp_path)
    store.put_many(records(range(3 * CHUNK_ROWS)))
    chunks = store.load()
    next(chunks)

    store.clear()
    store.put_many(records([5000]))

    assert list(chunks) == []
    assert set(by_key(store.load())) == {key(5000)}
    store.close()


def test_loading_skips_a_model_that_is_purged(tmp_path: Path) -> None:
    store = _open(tmp_path)
    for first in range(0, 3 * CHUNK_ROWS, CHUNK_ROWS):
        tag = OTHER_TAG if first == CHUNK_ROWS else TAG
        store.put_many(records(range(first, first + CHUNK_ROWS), tag=tag))
    chunks = store.load()
    next(chunks)

    store.purge(TAG)

    assert set(by_key(chunks)) == set(keys(range(CHUNK_ROWS, 2 * CHUNK_ROWS), OTHER_TAG))
    store.close()


def test_renewing_limits_the_rows_and_the_file_size(tmp_path: Path) -> None:
    store = _open(tmp_path)
    alive = range(200)
    store.put_many(records(alive, 384))
    largest = 0
    for step in range(200):
        numbers = range(1000 + 50 * step, 1050 + 50 * step)
        store.put_many(records(numbers, 384))
        store.delete_many(keys(numbers))
        while store.stats.rows > 2 * len(alive):
            upto, names = store.oldest(64)
            kept = [number for number in alive if key(number) in names]
            store.renew(upto, [records(kept, 384)])
        largest = max(largest, store.stats.bytes)

    assert by_key(store.load()) == by_key([records(alive, 384)])
    store.close()
    live_bytes = len(alive) * 384 * 4
    assert (tmp_path / "a.sqlite").stat().st_size < 4 * live_bytes
    assert largest < 20 * 2**20 + 4 * live_bytes


def test_keys_of_another_length_are_refused(tmp_path: Path) -> None:
    store = _open(tmp_path)

    with pytest.raises(ValueError, match="32 bytes"):
        store.delete_many([b"short"])

    assert store.stats.rows == 0
    store.close()


def test_calls_without_records_change_nothing(tmp_path: Path) -> None:
    store = _open(tmp_path)

    store.delete_many([])
    store.put_many(records([]))
    store.renew(*_none(store))
    store.open()

    assert store.stats.rows == 0
    assert list(store.load()) == []
    store.close()


def _none(store: SqliteStore) -> tuple[int, list[Records]]:
    upto, names = store.oldest(10)
    assert names == []
    return upto, []


def test_a_store_that_is_not_open_raises_unavailable(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.sqlite")

    assert not store.is_open
    with pytest.raises(StageUnavailable):
        store.put_many(records([1]))
    with pytest.raises(StageUnavailable):
        store.clear()
    store.close()
