"""The settings select the store of a cache, without opening it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from embedder.cache.opening import open_store
from embedder.cache.persistent import PersistentCache
from embedder.cache.store.redis_store import RedisStore
from embedder.cache.store.sqlite_store import SqliteStore
from embedder.settings.cache import CacheSettings
from tests.unit.cache.known import entries, keys
from tests.unit.waiting import until


def test_without_a_directory_or_url_there_is_no_store() -> None:
    assert open_store(CacheSettings(), "cache-0") is None


def test_a_cache_that_is_turned_off_has_no_store(tmp_path: Path) -> None:
    settings = CacheSettings(max_bytes=0, directory=str(tmp_path))

    assert open_store(settings, "cache-0") is None


def test_a_directory_gives_a_local_store(tmp_path: Path) -> None:
    store = open_store(CacheSettings(directory=str(tmp_path / "new")), "cache-0")

    assert isinstance(store, SqliteStore)
    assert list(tmp_path.iterdir()) == []


def test_a_url_gives_a_shared_store() -> None:
    pytest.importorskip("redis", reason="redis-py is not installed")
    settings = CacheSettings(url=SecretStr("redis://localhost:1"))

    assert isinstance(open_store(settings, "cache-0"), RedisStore)


async def test_each_name_has_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = CacheSettings(directory="~/saved")
    for name, number in (("cache-0", 1), ("cache-1", 2)):
        cache = PersistentCache(settings, open_store(settings, name))
        await cache.start()
        await cache.put_many(keys([number]), entries([number]))
        await cache.stop()

    cache = PersistentCache(settings, open_store(settings, "cache-0"))
    await cache.start()
    await until(lambda: cache.stats()["store"]["state"] == "ready")

    assert cache.memory.keys() == keys([1])
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} >= {".sqlite"}
    assert (tmp_path / "saved" / "cache-1.sqlite").exists()
    await cache.stop()
