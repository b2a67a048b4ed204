"""Which shard of a cache a key belongs to, and a cache of several shards that answers as one.

A shard that is added takes its share from every other one, and no key moves between those. Knows
nothing of where the shards live.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedder.cache.fail_open import FailOpenCache, SharedCacheState
from embedder.cache.store.records import TAG_BYTES
from embedder.core import rendezvous
from embedder.core.types import CacheHits, Entries


def owners(keys: Sequence[bytes], shards: int) -> NDArray[np.intp]:
    """Return the number of the shard that owns each 32-byte key, below ``shards``."""
    if shards == 1 or not keys:
        return np.zeros(len(keys), np.intp)
    # The bytes after the tag, which all keys of a model share, are hashed already.
    words = np.frombuffer(b"".join(key[TAG_BYTES : TAG_BYTES + 8] for key in keys), "<u8")
    return rendezvous.owners(words, shards)


class ShardedCache:
    """Ask each shard for its keys, all at once; a shard that fails costs its own keys only.

    Without any shard nothing is remembered.
    """

    def __init__(self, shards: Sequence[FailOpenCache] = ()) -> None:
        self._shards = tuple(shards)

    def __len__(self) -> int:
        """Return how many shards there are."""
        return len(self._shards)

    @property
    def states(self) -> list[SharedCacheState]:
        """Return what has been seen of every shard."""
        return [shard.state for shard in self._shards]

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the entries that are there, in the order of the keys."""
        parts = self._parts(keys)
        found = await asyncio.gather(
            *(
                self._shards[shard].get_many([keys[row] for row in rows], width)
                for shard, rows in parts
            )
        )
        return CacheHits.merged(
            [(rows, hits) for (_, rows), hits in zip(parts, found, strict=True)], width
        )

    def put_later(self, keys: Sequence[bytes], entries: Entries) -> None:
        """Send entries to their shards without waiting for them."""
        for shard, rows in self._parts(keys):
            part = entries if len(rows) == len(keys) else entries.take(rows)
            self._shards[shard].put_later([keys[row] for row in rows], part)

    def _parts(self, keys: Sequence[bytes]) -> list[tuple[int, NDArray[np.intp]]]:
        """Return the shards that own any of the keys, each with the rows of its keys."""
        if not self._shards:
            return []
        owner = owners(keys, len(self._shards))
        return [(int(shard), np.flatnonzero(owner == shard)) for shard in np.unique(owner)]
