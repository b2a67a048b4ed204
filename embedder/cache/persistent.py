"""What a process that caches runs: entries in memory, and a store behind them.

Lives on one event loop. Whatever becomes of the store, memory answers as it would alone. Knows
nothing of who asks, nor of how a store keeps things.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.cache.memory import MemoryCache
from embedder.cache.store.dirty_keys import DirtyKeys
from embedder.cache.store.lookup import StoreLookup
from embedder.cache.store.protocol import LocalStore, SharedStore
from embedder.cache.store.records import Records
from embedder.cache.write_behind import WriteBehind
from embedder.core.types import CacheHits, Entries
from embedder.settings.model import CacheSettings


class PersistentCache:
    """A `MemoryCache` whose entries outlive it in a store; without one it is only that."""

    def __init__(
        self,
        settings: CacheSettings,
        store: LocalStore | SharedStore | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._marks = DirtyKeys()
        self._store = store
        shared = store if isinstance(store, SharedStore) else None
        # What one cache has no room for may well be wanted by others that share the store.
        forget = self._marks.forget if shared is None else self._marks.leave
        self.memory = MemoryCache(
            settings.max_bytes,
            ttl_s=settings.ttl_s,
            clock=clock,
            on_forget=None if store is None else forget,
        )
        self._clock = clock
        self._look_up = None if shared is None else StoreLookup(shared, clock=clock)
        self._writing = None
        if store is not None:
            self._writing = WriteBehind(self.memory, self._marks, store, settings, clock=clock)

    async def start(self) -> None:
        """Begin to load and to write; returns at once, and what is not loaded yet is a miss."""
        if self._writing is not None:
            self._writing.start()

    async def stop(self) -> None:
        """Write what is left, and close the store."""
        if self._look_up is not None:
            self._look_up.close()
        if self._writing is not None:
            await self._writing.stop()

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the entries that are there; a shared store is asked for what memory lacks."""
        hits = self.memory.get_many(keys, width)
        if self._look_up is None or len(hits.rows) == len(keys):
            return hits
        every = np.arange(len(keys))
        wanted = np.setdiff1d(every, hits.rows)
        found = await self._look_up.find([keys[row] for row in wanted], width)
        if not found:
            return hits
        self.memory.put_many(found.keys, found.entries, found.ttls_s)
        further = _hits([keys[row] for row in wanted], found)
        return CacheHits.merged([(every, hits), (wanted, further)], width)

    async def put_many(
        self,
        keys: Sequence[bytes],
        entries: Entries,
        ttls_s: NDArray[np.float64] | None = None,
    ) -> None:
        """Store the entries for at most ``ttls_s`` seconds each; write them behind."""
        if self._writing is None:
            self.memory.put_many(keys, entries, ttls_s)
            return
        # Before: what is put and has to go again at once is marked as gone by memory.
        self._marks.put(keys)
        try:
            self.memory.put_many(keys, entries, ttls_s)
        except BaseException:
            self._marks.drop(keys)
            raise
        self._writing.marked()

    def delete_many(self, keys: Sequence[bytes]) -> None:
        """Forget what is under these keys, in the store too."""
        self.memory.delete_many(keys)
        if self._writing is not None:
            self._marks.delete(keys)

    def purge(self, tag: bytes) -> int:
        """Forget everything of one model, in the store too; return how many memory had."""
        count = self.memory.purge(tag)
        if self._writing is not None:
            self._marks.purge(tag)
        return count

    def clear(self) -> int:
        """Forget everything, in the store too; return how many entries memory had."""
        count = self.memory.clear()
        if self._writing is not None:
            self._marks.clear()
        return count

    def serves(self, models: Mapping[str, bytes]) -> None:
        """Tell which models are served now, by name with their tags.

        A local store forgets what other models had that were served under these names.
        """
        if self._writing is not None:
            self._marks.serves(models)

    def stats(self) -> dict[str, Any]:
        """Return memory's counters, and how the store is doing, None where there is none."""
        return {
            **asdict(self.memory.stats),
            "age_s": self.memory.age_s,
            "max_bytes": self.memory.max_bytes,
            "store": self._store_stats(),
        }

    def _store_stats(self) -> dict[str, Any] | None:
        if self._store is None or self._writing is None:
            return None
        condition = self._writing.condition
        written_at = condition.written_at
        stats = {
            "state": condition.state,
            **asdict(self._store.stats),
            "loaded": condition.loaded,
            "total": condition.total,
            "dirty": self._writing.dirty,
            "written": condition.written,
            "failures": condition.failures,
            "last_write_age_s": None if written_at is None else self._clock() - written_at,
        }
        if self._look_up is not None:
            stats["look_up"] = {
                **asdict(self._look_up.stats),
                "circuit": self._look_up.circuit.value,
            }
        return stats


def _hits(keys: Sequence[bytes], found: Records) -> CacheHits:
    """Return which of the keys have been found; one that comes twice was found for both."""
    places = {key: at for at, key in enumerate(found.keys)}
    rows = np.array([row for row, key in enumerate(keys) if key in places], np.intp)
    at = np.array([places[keys[row]] for row in rows], np.intp)
    return CacheHits(rows, found.entries.take(at), found.ttls_s[at])
