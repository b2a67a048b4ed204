"""The store against a plain dictionary, whatever happens to it and however its process ends."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from embedder.cache.store.protocol import LocalStore, SharedStore
from embedder.cache.store.records import FOREVER, Records
from embedder.cache.store.sqlite_store import CHUNK_ROWS, SqliteStore
from embedder.core.errors import StageUnavailable
from embedder.core.types import Entries
from tests.unit.cache.known import OTHER_TAG, TAG, Row, by_key, key, keys, records, row

NUMBERS = st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True)
TAGS = st.sampled_from([TAG, OTHER_TAG])
WIDTHS = st.sampled_from([1, 4])


class StoreMachine(RuleBasedStateMachine):
    """Does everything twice: to the store, and to ``kept``; ``lives`` end at times of the clock."""

    @initialize()
    def start(self) -> None:
        self.now = 1_700_000_000.0
        self.folder = Path(tempfile.mkdtemp())
        self.kept: dict[bytes, Row] = {}
        self.ends: dict[bytes, float] = {}
        self.version = 0
        self.served: dict[str, bytes] = {}
        self.store = SqliteStore(self.folder / "a.sqlite", clock=lambda: self.now)
        self.store.open()

    @rule(numbers=NUMBERS, width=WIDTHS, tag=TAGS, life=st.sampled_from([FOREVER, 10.0, 100.0]))
    def put(self, numbers: list[int], width: int, tag: bytes, life: float) -> None:
        self.version += 1
        self.store.put_many(records(numbers, width, ttls_s=life, version=self.version, tag=tag))
        for number in numbers:
            self.kept[key(number, tag)] = row(number, width, self.version)
            self.ends[key(number, tag)] = self.now + life

    @rule(numbers=NUMBERS, tag=TAGS)
    def delete(self, numbers: list[int], tag: bytes) -> None:
        self.store.delete_many(keys(numbers, tag))
        for name in keys(numbers, tag):
            self.kept.pop(name, None)

    @rule(tag=TAGS)
    def purge(self, tag: bytes) -> None:
        self.store.purge(tag)
        self._forget(tag)

    @rule(name=st.sampled_from(["x", "y"]), tag=TAGS)
    def serve(self, name: str, tag: bytes) -> None:
        self.store.serves({name: tag})
        former = self.served.get(name)
        self.served[name] = tag
        if former is not None and former not in self.served.values():
            self._forget(former)

    @rule()
    def clear(self) -> None:
        self.store.clear()
        self.kept.clear()
        self.served.clear()

    @rule(count=st.integers(1, 20))
    def renew_the_oldest(self, count: int) -> None:
        upto, names = self.store.oldest(count)
        self.store.renew(upto, [self._record(name) for name in names if name in self._alive()])

    @rule(seconds=st.sampled_from([1.0, 50.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(closed=st.booleans())
    def restart(self, closed: bool) -> None:
        """Go on with a copy of the files, as a process does that was killed, or after closing."""
        if closed:
            self.store.close()
        folder = Path(tempfile.mkdtemp())
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        self.store.close()
        shutil.rmtree(self.folder)
        self.folder = folder
        self.store = SqliteStore(folder / "a.sqlite", clock=lambda: self.now)
        self.store.open()
        assert self.store.stats.set_aside == 0

    @rule()
    def load(self) -> None:
        loaded = list(self.store.load())

        assert by_key(loaded) == self._alive()
        assert self.store.stats.corrupt == 0
        assert self.store.stats.read == self.store.stats.rows
        for given in loaded:
            for name, life in zip(given.keys, given.ttls_s.tolist(), strict=True):
                assert life == pytest.approx(self.ends[name] - self.now, abs=0.01)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.load()
            self.store.close()
            shutil.rmtree(self.folder)

    def _record(self, name: bytes) -> Records:
        vector, count, truncated = self.kept[name]
        entry = Entries(
            np.array([vector], np.float32), np.array([count], np.int32), np.array([truncated])
        )
        return Records([name], entry, np.array([self.ends[name] - self.now]))

    def _alive(self) -> dict[bytes, Row]:
        return {name: content for name, content in self.kept.items() if self.ends[name] > self.now}

    def _forget(self, tag: bytes) -> None:
        for name in [name for name in self.kept if name.startswith(tag)]:
            del self.kept[name]


TestSqliteStore = StoreMachine.TestCase
TestSqliteStore.settings = settings(max_examples=25, stateful_step_count=25)


def _open(path: Path) -> SqliteStore:
    store = SqliteStore(path / "a.sqlite")
    store.open()
    return store


def test_it_is_a_store_of_one_cache_and_not_of_several(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.sqlite")

    assert isinstance(store, LocalStore)
    assert not isinstance(store, SharedStore)


def test_what_was_put_last_comes_first(tmp_path: Path) -> None:
    store = _open(tmp_path)
    for first in range(0, 3000, 300):
        store.put_many(records(range(first, first + 300)))

    loaded = [name for given in store.load() for name in given.keys]

    assert loaded == keys(range(2999, -1, -1))
    store.close()


def test_a_loader_takes_no_notice_of_what_is_put_but_of_what_is_deleted(tmp_path: Path) -> None:
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


def test_a_loader_stops_where_everything_is_cleared(tmp_path: Path) -> None:
    store = _open(tmp_path)
    store.put_many(records(range(3 * CHUNK_ROWS)))
    chunks = store.load()
    next(chunks)

    store.clear()
    store.put_many(records([5000]))

    assert list(chunks) == []
    assert set(by_key(store.load())) == {key(5000)}
    store.close()


def test_a_loader_gives_no_more_of_a_model_that_is_purged(tmp_path: Path) -> None:
    store = _open(tmp_path)
    for first in range(0, 3 * CHUNK_ROWS, CHUNK_ROWS):
        tag = OTHER_TAG if first == CHUNK_ROWS else TAG
        store.put_many(records(range(first, first + CHUNK_ROWS), tag=tag))
    chunks = store.load()
    next(chunks)

    store.purge(TAG)

    assert set(by_key(chunks)) == set(keys(range(CHUNK_ROWS, 2 * CHUNK_ROWS), OTHER_TAG))
    store.close()


def test_renewing_bounds_the_rows_and_the_file(tmp_path: Path) -> None:
    store = _open(tmp_path)
    alive = range(200)
    store.put_many(records(alive, 384))
    largest = 0
    for turn in range(200):
        numbers = range(1000 + 50 * turn, 1050 + 50 * turn)
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


def test_nothing_to_do_is_nothing_done(tmp_path: Path) -> None:
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


def test_a_store_that_is_not_open_refuses_everything(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "a.sqlite")

    assert not store.is_open
    with pytest.raises(StageUnavailable):
        store.put_many(records([1]))
    with pytest.raises(StageUnavailable):
        store.clear()
    store.close()
