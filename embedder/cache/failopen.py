"""A far cache that can only help: slow, dead or full, it costs a miss and never an error.

Wraps any `Caching` stage. Knows nothing of where that stage lives.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import numpy as np

from embedder.stages import Caching
from embedder.types import CacheHits, Entries

logger = logging.getLogger(__name__)


class FailOpenCache:
    """Look up within ``timeout_s``; insert behind the caller's back. ``None`` remembers nothing."""

    def __init__(self, cache: Caching | None = None, *, timeout_s: float = 0.2) -> None:
        self.failures = 0
        self._cache = cache
        self._timeout_s = timeout_s
        self._inserts: set[asyncio.Task[None]] = set()

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return what the cache has, or nothing where it does not answer in time."""
        if self._cache is None:
            return _nothing(width)
        try:
            return await asyncio.wait_for(self._cache.get_many(keys, width), self._timeout_s)
        except Exception as error:  # noqa: BLE001 - whatever ails a cache, it is a miss
            self.failures += 1
            logger.warning("cache lookup failed, computing instead: %r", error)
            return _nothing(width)

    def put_later(self, keys: Sequence[bytes], entries: Entries) -> None:
        """Send entries to the cache without waiting for it."""
        if self._cache is None:
            return
        task = asyncio.get_running_loop().create_task(self._put(self._cache, keys, entries))
        # The loop keeps only weak references to tasks.
        self._inserts.add(task)
        task.add_done_callback(self._inserts.discard)

    async def _put(self, cache: Caching, keys: Sequence[bytes], entries: Entries) -> None:
        try:
            await cache.put_many(keys, entries)
        except Exception as error:  # noqa: BLE001 - the answer is on its way without it
            self.failures += 1
            logger.warning("cache insert failed, the next request computes again: %r", error)


def _nothing(width: int) -> CacheHits:
    return CacheHits(np.empty(0, np.intp), Entries.allocate(0, width))
