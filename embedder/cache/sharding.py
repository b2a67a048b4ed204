"""A cache of several shards, and the shard that owns a key.

A new shard takes its share of the keys from every other shard; no key moves between those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedder.cache.fail_open import FailOpenCache, SharedCacheState
from embedder.cache.store.records import TAG_BYTES
from embedder.core import rendezvous
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.entries import Entries


def owners(keys: Sequence[bytes], shards: int) -> NDArray[np.intp]:
    """Return the number of the shard that owns each 32-byte key, below ``shards``."""
    if not keys:
        return np.zeros(0, np.intp)
    # The bytes after the tag are a hash; all keys of a model share the tag.
    words = np.frombuffer(b"".join(key[TAG_BYTES : TAG_BYTES + 8] for key in keys), "<u8")
    return rendezvous.owners(words, shards)


class ShardedCache:
    """Asks all shards concurrently; a failing shard misses its own keys only.

    Without shards nothing is cached.
    """

    def __init__(self, shards: Sequence[FailOpenCache] = ()) -> None:
        self._shards = tuple(shards)

    def __len__(self) -> int:
        """Return the number of shards."""
        return len(self._shards)

    @property
    def states(self) -> list[SharedCacheState]:
        """Return the state of every shard."""
        return [shard.state for shard in self._shards]

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the hits of all shards, in the order of the keys."""
        if len(self._shards) == 1:
            return await self._shards[0].get_many(keys, width)
        by_shard = self._by_shard(keys)
        found = await asyncio.gather(
            *(
                self._shards[shard].get_many([keys[row] for row in rows], width)
                for shard, rows in by_shard
            )
        )
        return CacheHits.merged(
            [(rows, hits) for (_, rows), hits in zip(by_shard, found, strict=True)], width
        )

    def put_later(self, keys: Sequence[bytes], entries: Entries) -> None:
        """Send entries to their shards without waiting for them."""
        if len(self._shards) == 1:
            self._shards[0].put_later(keys, entries)
            return
        for shard, rows in self._by_shard(keys):
            self._shards[shard].put_later([keys[row] for row in rows], entries.take(rows))

    def _by_shard(self, keys: Sequence[bytes]) -> list[tuple[int, NDArray[np.intp]]]:
        """Return the shards that own these keys, each with the rows of its keys."""
        if not self._shards:
            return []
        owner = owners(keys, len(self._shards))
        return [(int(shard), np.flatnonzero(owner == shard)) for shard in np.unique(owner)]
