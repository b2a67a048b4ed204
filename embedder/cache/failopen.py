"""A far cache that can only help: slow, dead or full, it costs a miss and never an error.

Wraps any `Caching` stage. Knows nothing of where that stage lives.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import numpy as np

from embedder.stages import Caching
from embedder.types import CacheHits, Entries

logger = logging.getLogger(__name__)


PAUSE_S = 1.0
"""How long a cache that has failed is left alone: otherwise each request would pay its time-out."""

INSERT_TIMEOUT_S = 5.0
MAX_PENDING_INSERTS = 256
"""Inserts of a cache that does not take them are dropped above this; they would fill the memory."""


class FailOpenCache:
    """Look up within ``timeout_s``; insert behind the caller's back. ``None`` remembers nothing.

    ``failures`` counts lookups and inserts that came to nothing.
    """

    def __init__(
        self,
        cache: Caching | None = None,
        *,
        timeout_s: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failures = 0
        self._cache = cache
        self._timeout_s = timeout_s
        self._clock = clock
        self._closed_until = float("-inf")
        self._failing = False
        self._inserts: set[asyncio.Task[None]] = set()

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return what the cache has, or nothing where it does not answer in time."""
        if self._cache is None or self._clock() < self._closed_until:
            return _nothing(width)
        try:
            hits = await asyncio.wait_for(self._cache.get_many(keys, width), self._timeout_s)
        except Exception as error:  # noqa: BLE001 - whatever ails a cache, it is a miss
            self._failed(error)
            return _nothing(width)
        self._recovered()
        return hits

    def put_later(self, keys: Sequence[bytes], entries: Entries) -> None:
        """Send entries to the cache without waiting for it."""
        if self._cache is None or self._clock() < self._closed_until:
            return
        if len(self._inserts) >= MAX_PENDING_INSERTS:
            self.failures += 1
            return
        task = asyncio.get_running_loop().create_task(self._put(self._cache, keys, entries))
        # The loop keeps only weak references to tasks.
        self._inserts.add(task)
        task.add_done_callback(self._inserts.discard)

    async def _put(self, cache: Caching, keys: Sequence[bytes], entries: Entries) -> None:
        try:
            await asyncio.wait_for(cache.put_many(keys, entries), INSERT_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - the answer is on its way without it
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        self._closed_until = self._clock() + PAUSE_S
        if not self._failing:
            logger.warning("the cache fails; requests are computed without it: %r", error)
        self._failing = True

    def _recovered(self) -> None:
        if self._failing:
            logger.warning("the cache answers again")
        self._failing = False


def _nothing(width: int) -> CacheHits:
    return CacheHits(np.empty(0, np.intp), Entries.allocate(0, width))
