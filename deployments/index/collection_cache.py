"""Descriptions of collections, cached for a few seconds, and work that depends on them.

Each call to a shard names the identity and the model of the description. A shard refuses a call
with an outdated description; then the collection is looked up again and the work is repeated. So no
answer depends on how long descriptions are cached.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from embedder.core.deadline import Deadline
from embedder.core.errors import UnknownCollection
from embedder.core.storage_errors import ModelMismatch, StaleCollection
from embedder.index.contract.points import CollectionInfo

T = TypeVar("T")
LookUp = Callable[[str, Deadline], Awaitable["CollectionInfo | None"]]
"""Returns the description of a collection by its name and a deadline; None if it is unknown."""

CACHED_S = 5.0
MAX_CACHED = 10_000
"""Seconds for which a description is cached, and the most descriptions."""

ATTEMPTS = 4
"""The most attempts at work whose collection changes after each look-up."""


class CollectionCache:
    """Caches descriptions by collection name; used from one event loop."""

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._cached: dict[str, tuple[float, CollectionInfo]] = {}

    def forget(self, name: str) -> None:
        """Drop the description of a collection."""
        self._cached.pop(name, None)

    async def run(
        self,
        name: str,
        work: Callable[[CollectionInfo | None], Awaitable[T]],
        *,
        deadline: Deadline,
        texts: bool,
    ) -> T:
        """Return the result of ``work`` for a collection's description, or for None if unknown.

        ``texts`` means that the work depends on the recorded model: then a description without a
        model is not taken from the cache.

        Raises:
            StaleCollection: the description was outdated at each attempt.
            EmbedderError: ``work`` or the look-up raised it.
        """
        for attempt in range(ATTEMPTS):
            info = self._find(name, texts=texts)
            cached = info is not None
            if info is None:
                info = await self._look_up_and_cache(name, deadline)
            try:
                return await work(info)
            except UnknownCollection:
                self.forget(name)
                raise
            except (StaleCollection, ModelMismatch) as error:
                self.forget(name)
                final = isinstance(error, ModelMismatch) and not cached
                if final or attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _find(self, name: str, *, texts: bool) -> CollectionInfo | None:
        until, info = self._cached.get(name, (0.0, None))
        if info is None or until < time.monotonic() or (texts and info.stored is None):
            return None
        return info

    async def _look_up_and_cache(self, name: str, deadline: Deadline) -> CollectionInfo | None:
        info = await self._look_up(name, deadline)
        if info is not None:
            if len(self._cached) >= MAX_CACHED:
                self._cached.clear()
            self._cached[name] = (time.monotonic() + CACHED_S, info)
        return info
