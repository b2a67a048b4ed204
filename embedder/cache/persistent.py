"""A cache in memory with a store behind it; use it from one event loop.

If the store fails, the cache works from memory alone.
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
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.entries import Entries
from embedder.settings.cache import CacheSettings


class PersistentCache:
    """A `MemoryCache` whose entries are also kept in a store; without a store, memory alone."""

    def __init__(
        self,
        settings: CacheSettings,
        store: LocalStore | SharedStore | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dirty = DirtyKeys()
        self._store = store
        shared = store if isinstance(store, SharedStore) else None
        # A shared store keeps what this memory evicts: other caches may ask for it.
        forget = self._dirty.delete if shared is None else self._dirty.discard
        self.memory = MemoryCache(
            settings.max_bytes,
            ttl_s=settings.ttl_s,
            clock=clock,
            on_forget=None if store is None else forget,
        )
        self._clock = clock
        self._lookup = None if shared is None else StoreLookup(shared, clock=clock)
        self._writer = None
        if store is not None:
            self._writer = WriteBehind(self.memory, self._dirty, store, settings, clock=clock)

    async def start(self) -> None:
        """Start to load and to write, and return; entries that are not loaded yet are misses."""
        if self._writer is not None:
            self._writer.start()

    async def stop(self) -> None:
        """Write the remaining changes, and close the store."""
        if self._lookup is not None:
            self._lookup.close()
        if self._writer is not None:
            await self._writer.stop()

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the entries of these keys; a shared store is asked for those not in memory."""
        hits = self.memory.get_many(keys, width)
        if self._lookup is None or len(hits.rows) == len(keys):
            return hits
        rows = np.arange(len(keys))
        missing = np.setdiff1d(rows, hits.rows)
        missing_keys = [keys[row] for row in missing]
        found = await self._lookup.find(missing_keys, width)
        if not found:
            return hits
        self.memory.put_many(found.keys, found.entries, found.ttls_s)
        return CacheHits.merged([(rows, hits), (missing, _hits(missing_keys, found))], width)

    async def put_many(
        self, keys: Sequence[bytes], entries: Entries, ttls_s: NDArray[np.float64] | None = None
    ) -> None:
        """Store the entries for at most ``ttls_s`` seconds each; write them behind."""
        if self._writer is None:
            self.memory.put_many(keys, entries, ttls_s)
            return
        # Recorded first: memory records entries that it evicts at once as deleted.
        self._dirty.put(keys)
        try:
            self.memory.put_many(keys, entries, ttls_s)
        except BaseException:
            self._dirty.discard(keys)
            raise
        self._writer.notify()

    def purge(self, tag: bytes) -> int:
        """Remove the entries of one model, in the store too; return their number in memory."""
        count = self.memory.purge(tag)
        if self._writer is not None:
            self._dirty.purge(tag)
        return count

    def clear(self) -> int:
        """Remove all entries, in the store too; return their number in memory."""
        count = self.memory.clear()
        if self._writer is not None:
            self._dirty.clear()
        return count

    def serves(self, models: Mapping[str, bytes]) -> None:
        """Set the models that are served now: name to tag.

        A local store deletes the entries of other models that were served under these names.
        """
        if self._writer is not None:
            self._dirty.serves(models)

    def stats(self) -> dict[str, Any]:
        """Return the counters of memory and the state of the store, None without a store."""
        return {
            **asdict(self.memory.stats),
            "age_s": self.memory.age_s,
            "max_bytes": self.memory.max_bytes,
            "store": self._store_stats(),
        }

    def _store_stats(self) -> dict[str, Any] | None:
        if self._store is None or self._writer is None:
            return None
        health = self._writer.health
        written_at = health.written_at
        stats = {
            "state": health.state,
            **asdict(self._store.stats),
            "loaded": health.loaded,
            "total": health.total,
            "dirty": self._writer.dirty,
            "written": health.written,
            "failures": health.failures,
            "last_write_age_s": None if written_at is None else self._clock() - written_at,
        }
        if self._lookup is not None:
            stats["lookup"] = {**asdict(self._lookup.stats), "circuit": self._lookup.circuit.value}
        return stats


def _hits(keys: Sequence[bytes], found: Records) -> CacheHits:
    """Return the hits of these keys; a key that occurs twice hits twice."""
    row_of = {key: row for row, key in enumerate(found.keys)}
    rows = np.array([row for row, key in enumerate(keys) if key in row_of], np.intp)
    at = np.array([row_of[keys[row]] for row in rows], np.intp)
    return CacheHits(rows, found.entries.take(at), found.ttls_s[at])
