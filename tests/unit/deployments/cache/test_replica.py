"""A cache replica: entries, statistics and deletion."""

from __future__ import annotations

import numpy as np

from deployments.cache.replica import CacheReplica
from deployments.settings.service import ServeSettings
from embedder.cache.slab import OVERHEAD_BYTES
from embedder.core.entries.entries import Entries

ENTRIES = Entries(np.ones((2, 4), np.float32), np.ones(2, np.int32), np.zeros(2, np.bool_))
KEYS = [b"modelone" + b"a" * 24, b"modeltwo" + b"b" * 24]


def _shard(**cache: float) -> CacheReplica:
    settings = ServeSettings.model_validate({"cache": cache, "data_directory": None})
    return CacheReplica(settings, "EmbeddingCache-3")


async def test_the_stats_of_a_shard_have_its_name_counters_and_limit() -> None:
    shard = _shard(max_bytes=50_000)
    await shard.put_many(KEYS, ENTRIES)
    await shard.get_many([KEYS[0], b"c" * 32], 4)
    stats = await shard.stats()

    assert stats.pop("age_s") >= 0
    assert stats == {
        "shard": "EmbeddingCache-3",
        "entries": 2,
        "bytes": 2 * (OVERHEAD_BYTES + 16),
        "max_bytes": 50_000,
        "hits": 1,
        "misses": 1,
        "expired": 0,
        "evicted": 0,
        "rejected": 0,
        "store": None,
    }


async def test_a_cleared_shard_is_empty_and_stores_new_entries() -> None:
    shard = _shard()
    await shard.put_many(KEYS, ENTRIES)
    cleared = await shard.clear()
    gone = await shard.get_many(KEYS, 4)
    await shard.put_many(KEYS, ENTRIES)
    back = await shard.get_many(KEYS, 4)

    assert cleared == 2
    assert gone.rows.tolist() == []
    assert back.rows.tolist() == [0, 1]


async def test_the_entries_of_a_model_are_deleted_by_its_tag() -> None:
    shard = _shard()
    await shard.put_many(KEYS, ENTRIES)

    assert await shard.purge(b"modelone") == 1
    assert await shard.keys() == [KEYS[1]]


async def test_entries_are_read_in_pages_with_their_remaining_ttl() -> None:
    shard = _shard(ttl_s=100)
    await shard.put_many(KEYS, ENTRIES, np.array([5.0, 1000.0]))
    (records,) = await shard.records(await shard.keys())

    assert records.keys == KEYS[::-1]
    assert 99 < records.ttls_s[0] <= 100
    assert 4 < records.ttls_s[1] <= 5
