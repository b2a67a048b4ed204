"""Make the store of a cache from settings. The thread that uses a store opens it."""

from __future__ import annotations

from pathlib import Path

from embedder.cache.store.redis_store import RedisStore
from embedder.cache.store.sqlite_store import SqliteStore
from embedder.settings.cache import CacheSettings


def open_store(settings: CacheSettings, name: str) -> SqliteStore | RedisStore | None:
    """Return the store of the cache of this name, or None if none is configured.

    Raises:
        MissingExtra: ``cache.url`` is set, and redis-py is not installed.
    """
    if settings.max_bytes == 0:
        return None
    if settings.url is not None:
        return RedisStore(settings.url.get_secret_value())
    if settings.directory is not None:
        return SqliteStore(Path(settings.directory).expanduser() / f"{name}.sqlite")
    return None
