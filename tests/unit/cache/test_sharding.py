"""A cache of several shards works as one; a new shard takes only its share of the keys."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.cache.fail_open import FailOpenCache
from embedder.cache.memory import MemoryCache
from embedder.cache.sharding import ShardedCache, owners
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.entries import Entries

WIDTH = 3
MANY = 4000


def _keys(count: int, tag: bytes = b"modelone") -> list[bytes]:
    return [tag + hashlib.blake2b(str(at).encode(), digest_size=24).digest() for at in range(count)]


def _entries(count: int) -> Entries:
    numbers = np.arange(count)
    return Entries(
        np.repeat(numbers, WIDTH).reshape(count, WIDTH).astype(np.float32),
        numbers.astype(np.int32),
        numbers % 2 == 1,
    )


class Shard:
    """A shard in this process that records its calls and fails on demand."""

    def __init__(self) -> None:
        self.memory = MemoryCache(2**20)
        self.asked: list[bytes] = []
        self.fails = False

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        self.asked += keys
        if self.fails:
            raise ConnectionError
        return self.memory.get_many(keys, width)

    async def put_many(self, keys: Sequence[bytes], entries: Entries) -> None:
        self.memory.put_many(keys, entries)


def _sharded(count: int) -> tuple[ShardedCache, list[Shard]]:
    shards = [Shard() for _ in range(count)]
    return ShardedCache([FailOpenCache(shard) for shard in shards]), shards


async def _filled(count: int, keys: list[bytes]) -> tuple[ShardedCache, list[Shard]]:
    cache, shards = _sharded(count)
    cache.put_later(keys, _entries(len(keys)))
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others)
    return cache, shards


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 16])
def test_keys_are_spread_evenly_over_shards(shards: int) -> None:
    counts = Counter(owners(_keys(MANY), shards).tolist())

    assert set(counts) == set(range(shards))
    assert max(counts.values()) < 1.35 * MANY / shards
    assert min(counts.values()) > 0.65 * MANY / shards


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_a_new_shard_takes_its_share_and_no_other_key_moves(shards: int) -> None:
    before, after = owners(_keys(MANY), shards), owners(_keys(MANY), shards + 1)
    moved = before != after

    assert set(after[moved].tolist()) == {shards}
    assert moved.mean() == pytest.approx(1 / (shards + 1), abs=0.03)


def test_the_owner_of_a_key_never_changes() -> None:
    """Pinned: a change would invalidate all caches at an upgrade."""
    assert owners(_keys(12), 5).tolist() == [4, 1, 3, 1, 1, 0, 3, 4, 4, 2, 0, 1]


def test_the_tag_does_not_select_the_shard() -> None:
    one, other = owners(_keys(50, b"modelone"), 4), owners(_keys(50, b"modeltwo"), 4)

    assert one.tolist() == other.tolist()


@pytest.mark.parametrize("count", [0, 1, 2, 5])
async def test_inserted_entries_are_found_in_order(count: int) -> None:
    keys = _keys(40)
    cache, _ = await _filled(max(count, 1), keys)
    if count == 0:
        cache = ShardedCache()
    asked = [keys[7], b"x" * 32, *keys[20:30], keys[3]]

    hits = await cache.get_many(asked, WIDTH)

    expected = [] if count == 0 else [7, *range(20, 30), 3]
    assert hits.entries.token_counts.tolist() == expected
    assert hits.entries.vectors[:, 0].tolist() == expected
    assert hits.entries.truncated.tolist() == [one % 2 == 1 for one in expected]
    assert [asked[row] for row in hits.rows] == [keys[one] for one in expected]


async def test_a_shard_is_asked_for_its_own_keys_only() -> None:
    keys = _keys(40)
    cache, shards = await _filled(3, keys)
    await cache.get_many(keys, WIDTH)

    for number, shard in enumerate(shards):
        owned = [key for key, own in zip(keys, owners(keys, 3), strict=True) if own == number]
        assert shard.asked == owned
        assert shard.memory.stats.entries == len(owned)


async def test_a_failing_shard_misses_its_own_keys_only() -> None:
    keys = _keys(40)
    cache, shards = await _filled(3, keys)
    shards[1].fails = True

    hits = await cache.get_many(keys, WIDTH)

    lost = np.flatnonzero(owners(keys, 3) == 1)
    assert set(hits.rows.tolist()) == set(range(40)) - set(lost.tolist())
    assert [state.failures for state in cache.states] == [0, 1, 0]


@given(
    st.lists(st.sets(st.integers(0, 9)), min_size=3, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_merged_hits_keep_the_ttl_of_each_row(found: list[set[int]], mortal: list[bool]) -> None:
    """Rows 0, 3, 6 … belong to the first shard, 1, 4, 7 … to the second, and so on."""
    parts = []
    expected: dict[int, float] = {}
    for shard, (places, ends) in enumerate(zip(found, mortal, strict=True)):
        rows = np.array(sorted(places), np.intp)
        owned = np.arange(shard, 30, 3)
        ttls_s = owned[rows].astype(np.float64) + 0.5 if ends else None
        parts.append((owned, CacheHits(rows, _entries(30).take(owned[rows]), ttls_s)))
        for row in owned[rows].tolist():
            expected[row] = row + 0.5 if ends else float("inf")

    hits = CacheHits.merged(parts, WIDTH)
    ttls_s = hits.ttls_of(30)

    assert hits.rows.tolist() == sorted(expected)
    assert hits.entries.token_counts.tolist() == sorted(expected)
    for row, life_s in expected.items():
        assert (float("inf") if ttls_s is None else ttls_s[row]) == life_s
