"""Descriptions of collections that an ingress keeps for seconds, and work that depends on them.

Each call to a shard carries the identity and the model of the description. A shard refuses a call
that is out of date; then the collection is looked up and the work is repeated, so that no answer
depends on how long descriptions are kept. Knows nothing of handles.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from embedder.core.errors import UnknownCollection
from embedder.core.storage_errors import ModelMismatch, StaleCollection
from embedder.index.contract.points import CollectionInfo

T = TypeVar("T")
LookUp = Callable[[str, "float | None"], Awaitable["CollectionInfo | None"]]
"""Ask for a collection by its name, within a deadline; None where there is none."""

KNOWN_S = 5.0
MAX_KNOWN = 10_000
"""Seconds for which a description is kept, and the most that are kept."""

ATTEMPTS = 4
"""Attempts at work whose collection has changed after each look-up."""


class CollectionCache:
    """Remembers collections by name; used from one event loop."""

    def __init__(self, look_up: LookUp, clock: Callable[[], float] = time.monotonic) -> None:
        self._look_up = look_up
        self._clock = clock
        self._known: dict[str, tuple[float, CollectionInfo]] = {}

    def forget(self, name: str) -> None:
        """Look a collection up when it is next asked for."""
        self._known.pop(name, None)

    async def run(
        self,
        name: str,
        work: Callable[[CollectionInfo | None], Awaitable[T]],
        *,
        deadline: float | None,
        texts: bool,
    ) -> T:
        """Return the result of work for a collection, None where there is none of this name.

        With ``texts`` the work depends on the recorded model: that no model is recorded is never
        remembered.

        Raises:
            StaleCollection: the shards knew of another collection at each attempt.
            EmbedderError: as ``work``, or as the look-up.
        """
        for attempt in range(ATTEMPTS):
            info = self._remembered(name, texts=texts)
            cached = info is not None
            if info is None:
                info = await self._looked_up(name, deadline)
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

    def _remembered(self, name: str, *, texts: bool) -> CollectionInfo | None:
        until, info = self._known.get(name, (0.0, None))
        if info is None or until < self._clock() or (texts and info.stored is None):
            return None
        return info

    async def _looked_up(self, name: str, deadline: float | None) -> CollectionInfo | None:
        info = await self._look_up(name, deadline)
        if info is not None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[name] = (self._clock() + KNOWN_S, info)
        return info
