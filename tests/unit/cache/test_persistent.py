"""A cache and its file through restarts and crashes."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from embedder.cache.persistent import PersistentCache
from embedder.cache.store.sqlite_store import SqliteStore
from embedder.settings.cache import CacheSettings
from tests.unit.cache.known import OTHER_TAG, TAG, Row, by_key, entries, key, keys, row, rows_of
from tests.unit.waiting import until

T = TypeVar("T")

TTL_S = 100.0
SETTINGS = CacheSettings(max_bytes=32_000, ttl_s=TTL_S, autosave_s=0.005)
"""A budget for about a hundred entries."""

NUMBERS = st.lists(st.integers(0, 149), min_size=1, max_size=60, unique=True)
TAGS = st.sampled_from([TAG, OTHER_TAG])


class PersistentCacheMachine(RuleBasedStateMachine):
    """Knows all versions that were put; ``saved`` is the content that the file must have."""

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.now = 0.0
        self.version = 0
        self.versions: dict[bytes, dict[int, float]] = {}
        self.saved: dict[bytes, Row] = {}
        self.changed: set[bytes] = set()
        self._begin()

    @rule(numbers=NUMBERS, tag=TAGS)
    def put(self, numbers: list[int], tag: bytes) -> None:
        self.version += 1
        names = keys(numbers, tag)
        self._run(self.cache.put_many(names, entries(numbers, version=self.version)))
        for name in names:
            self.versions.setdefault(name, {})[self.version] = self.now
        self.changed.update(names, self.saved)  # any of them may have made room

    @rule(tag=TAGS)
    def purge(self, tag: bytes) -> None:
        self.cache.purge(tag)
        self.changed.update(name for name in self.saved if name.startswith(tag))

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.changed.update(self.saved)

    @rule(seconds=st.sampled_from([1.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def save(self) -> None:
        self._run(until(lambda: self.cache.stats()["store"]["dirty"] == 0))
        self.saved, self.changed = self._held(), set()

    @rule()
    def restart(self) -> None:
        before = self._held()
        self._run(self.cache.stop())
        self._begin()

        assert self._held() == before
        self.saved, self.changed = before, set()

    @rule()
    def crash(self) -> None:
        """Continue with a copy of the files, as a killed process leaves them."""
        folder = Path(tempfile.mkdtemp())
        assert self.cache._writer is not None
        thread = self.cache._writer._thread  # idle while the files are copied
        self._run(self._copy(thread, folder))
        self._run(self.cache.stop())
        shutil.rmtree(self.folder)
        self.folder = folder
        self._begin()

        held = self._held()
        certain = {name for name in self.saved if name not in self.changed and self._lives(name)}
        assert certain <= held.keys()
        assert {name: held[name] for name in certain} == {
            name: self.saved[name] for name in certain
        }
        self.saved, self.changed = held, set()

    @invariant()
    def nothing_is_wrong_or_too_old(self) -> None:
        if not hasattr(self, "cache"):
            return
        for name, (vector, count, truncated) in self._held().items():
            version = int(vector[-1])
            assert self.now - self.versions[name][version] < TTL_S
            assert (vector, count, truncated) == row(int(vector[0]), version=version)
            assert name in (key(int(vector[0])), key(int(vector[0]), OTHER_TAG))

    def teardown(self) -> None:
        if hasattr(self, "cache"):
            self._run(self.cache.stop())
            self.loop.close()
            shutil.rmtree(self.folder)

    def _begin(self) -> None:
        store = SqliteStore(self.folder / "a.sqlite", clock=lambda: 1e9 + self.now)
        self.cache = PersistentCache(SETTINGS, store, clock=lambda: self.now)
        self._run(self.cache.start())
        self._run(until(lambda: self.cache.stats()["store"]["state"] == "ready"))
        assert self.cache.stats()["store"]["renamed_files"] == 0

    async def _copy(self, thread: Executor, folder: Path) -> None:
        copy = partial(shutil.copytree, self.folder, folder, dirs_exist_ok=True)
        await self.loop.run_in_executor(thread, copy)

    def _held(self) -> dict[bytes, Row]:
        return by_key(self.cache.memory.records(self.cache.memory.keys()))

    def _lives(self, name: bytes) -> bool:
        put_s = self.versions[name][int(self.saved[name][0][-1])]
        return self.now - put_s < TTL_S - 0.01

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)


TestPersistentCache = PersistentCacheMachine.TestCase
TestPersistentCache.settings = settings(max_examples=20, stateful_step_count=20)


async def test_without_a_store_the_cache_works_in_memory() -> None:
    cache = PersistentCache(CacheSettings())
    await cache.start()

    await cache.put_many(keys([1]), entries([1]), np.array([60.0]))
    cache.serves({"a": TAG})
    hits = await cache.get_many(keys([1, 2]), 4)

    assert rows_of(hits.entries) == [row(1)]
    assert hits.ttls_s is not None
    assert cache.stats()["store"] is None
    assert cache.stats()["entries"] == 1
    assert (cache.purge(TAG), cache.clear()) == (1, 0)
    await cache.stop()


async def _reopened(folder: Path, wall_s: float, ttl_s: float | None = None) -> PersistentCache:
    store = SqliteStore(folder / "a.sqlite", clock=lambda: wall_s)
    cache = PersistentCache(CacheSettings(ttl_s=ttl_s, autosave_s=0.005), store, clock=lambda: 0.0)
    await cache.start()
    await until(lambda: cache.stats()["store"]["state"] == "ready")
    return cache


async def test_a_ttl_shrinks_while_the_service_is_down(tmp_path: Path) -> None:
    cache = await _reopened(tmp_path, 1000.0, ttl_s=600.0)
    await cache.put_many(keys([1, 2]), entries([1, 2]), np.array([50.0, np.inf]))
    await cache.stop()
    lives = {}
    for wall_s in (1040.0, 900.0, 1700.0, 1e12):
        folder = tmp_path / str(wall_s)
        folder.mkdir()
        shutil.copy(tmp_path / "a.sqlite", folder)
        cache = await _reopened(folder, wall_s)
        hits = await cache.get_many(keys([1, 2]), 4)
        lives[wall_s] = [] if hits.ttls_s is None else hits.ttls_s.round(3).tolist()
        await cache.stop()

    assert lives == {1040.0: [10.0, 560.0], 900.0: [50.0, 600.0], 1700.0: [], 1e12: []}


async def test_a_shorter_ttl_applies_to_entries_saved_with_a_longer_one(tmp_path: Path) -> None:
    cache = await _reopened(tmp_path, 1000.0)
    await cache.put_many(keys([1]), entries([1]))
    await cache.stop()

    cache = await _reopened(tmp_path, 1010.0, ttl_s=5.0)

    hits = await cache.get_many(keys([1]), 4)
    assert hits.ttls_s is not None
    assert hits.ttls_s.tolist() == [5.0]
    await cache.stop()


async def test_entries_of_a_replaced_model_are_not_loaded(tmp_path: Path) -> None:
    cache = await _reopened(tmp_path, 1000.0)
    cache.serves({"name": TAG})
    await cache.put_many(keys([1]), entries([1]))
    await cache.stop()
    cache = await _reopened(tmp_path, 1000.0)
    cache.serves({"name": OTHER_TAG})
    await cache.put_many(keys([1], OTHER_TAG), entries([1]))
    await cache.stop()

    cache = await _reopened(tmp_path, 1000.0)

    assert cache.memory.keys() == keys([1], OTHER_TAG)
    await cache.stop()


async def test_a_second_owner_runs_without_a_store(tmp_path: Path) -> None:
    first = await _reopened(tmp_path, 1000.0)
    second = PersistentCache(CacheSettings(), SqliteStore(tmp_path / "a.sqlite"))
    await second.start()

    await until(lambda: second.stats()["store"]["state"] == "unavailable")
    await second.put_many(keys([1]), entries([1]))

    assert (await second.get_many(keys([1]), 4)).rows.tolist() == [0]
    await second.stop()
    await first.stop()
