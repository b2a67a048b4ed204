"""From settings to a cache: which store is behind it, and where.

Nothing is touched here: a store is opened by the thread that uses it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from embedder.cache.persistent import PersistentCache
from embedder.cache.store.redis_store import RedisStore
from embedder.cache.store.sqlite_store import SqliteStore
from embedder.settings.model import CacheSettings


def open_store(settings: CacheSettings, name: str) -> SqliteStore | RedisStore | None:
    """Return the store of the cache of this name, None where nothing is to be kept.

    Raises:
        MissingExtra: a store at ``cache.url`` is asked for, and redis-py is not installed.
    """
    if settings.max_bytes == 0:
        return None
    if settings.url is not None:
        return RedisStore(settings.url.get_secret_value())
    if settings.directory is not None:
        return SqliteStore(Path(settings.directory).expanduser() / f"{name}.sqlite")
    return None


def open_cache(
    settings: CacheSettings, name: str, *, clock: Callable[[], float] = time.monotonic
) -> PersistentCache:
    """Return the cache of this name, which is yet to be started.

    Raises:
        MissingExtra: as `open_store` does.
    """
    return PersistentCache(settings, open_store(settings, name), clock=clock)
