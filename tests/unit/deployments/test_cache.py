"""The cache shard: what it holds, what it may hold, and that it can forget."""

from __future__ import annotations

import numpy as np

from deployments.cache import CacheShard
from deployments.settings import ServeSettings
from embedder.types import Entries

ENTRIES = Entries(np.ones((2, 4), np.float32), np.ones(2, np.int32), np.zeros(2, np.bool_))


async def test_a_shard_tells_its_counters_beside_its_bound() -> None:
    shard = CacheShard(ServeSettings.model_validate({"cache": {"max_bytes": 5000}}))
    await shard.put_many([b"a", b"b"], ENTRIES)
    await shard.get_many([b"a", b"c"], 4)

    assert await shard.stats() == {
        "entries": 2,
        "bytes": 2 * (320 + 16),
        "max_bytes": 5000,
        "hits": 1,
        "misses": 1,
        "evicted": 0,
        "rejected": 0,
    }


async def test_a_shard_that_is_cleared_has_nothing_and_goes_on() -> None:
    shard = CacheShard(ServeSettings())
    await shard.put_many([b"a", b"b"], ENTRIES)
    cleared = await shard.clear()
    gone = await shard.get_many([b"a", b"b"], 4)
    await shard.put_many([b"a", b"b"], ENTRIES)
    back = await shard.get_many([b"a", b"b"], 4)

    assert cleared == 2
    assert gone.rows.tolist() == []
    assert back.rows.tolist() == [0, 1]
