"""A shard of the cache behind a handle: requests share its calls, and each gets its own rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from deployments.cache import client
from deployments.cache.client import RemoteCache
from embedder.cache.memory import MemoryCache
from embedder.core.entries.blobs import RAGGED
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.entries import Entries
from embedder.core.errors import BackendFailure
from tests.unit.cache.known import entries, keys
from tests.unit.deployments.local_handle import as_handle

ONE, THREE, NONE, X = (name.ljust(32).encode() for name in ("one", "three", "none", "x"))


class CountingShard:
    """A shard in memory that counts its calls; lookups wait until ``released`` is set."""

    def __init__(self, ttl_s: float | None = None) -> None:
        self.memory = MemoryCache(2**20, ttl_s=ttl_s)
        self.released = asyncio.Event()
        self.lookups: list[int] = []
        self.insertions: list[int] = []

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        await self.released.wait()
        self.lookups.append(len(keys))
        return self.memory.get_many(keys, width)

    async def put_many(self, keys: Sequence[bytes], entries: Entries) -> None:
        self.insertions.append(len(keys))
        self.memory.put_many(keys, entries)


def rows(*values: float) -> Entries:
    """Return a row [value, -value] with value tokens for each value."""
    return Entries(
        np.array([[value, -value] for value in values], np.float32),
        np.array(values, np.int32),
        np.array([value > 2 for value in values], np.bool_),
    )


def _remote(shard: object) -> RemoteCache:
    return RemoteCache("EmbeddingCache-0", as_handle(shard))


async def test_a_failed_lookup_raises_the_error_of_the_shard() -> None:
    class Broken:
        async def get_many(self, keys: Sequence[bytes], width: int) -> None:
            raise ValueError("broken")

    with pytest.raises(BackendFailure, match="failed"):
        await _remote(Broken()).get_many([b"key"], 4)


async def test_lookups_of_several_requests_share_a_call() -> None:
    shard = CountingShard()
    remote = _remote(shard)
    await remote.put_many([ONE, THREE], rows(1, 3))
    first = asyncio.create_task(remote.get_many([X], 2))
    await asyncio.sleep(0)
    lookups = [
        asyncio.create_task(remote.get_many(keys, 2))
        for keys in ([NONE, THREE, ONE], [NONE], [ONE])
    ]
    for _ in range(10):
        await asyncio.sleep(0)
    shard.released.set()
    both, nothing, one = await asyncio.gather(*lookups)
    await first

    assert sorted(shard.lookups) in ([1, 5], [6])
    assert both.rows.tolist() == [1, 2]
    assert both.entries.vectors.tolist() == [[3, -3], [1, -1]]
    assert both.entries.truncated.tolist() == [True, False]
    assert (nothing.rows.tolist(), nothing.entries.vectors.shape) == ([], (0, 2))
    assert one.entries.token_counts.tolist() == [1]


async def test_a_lookup_of_another_width_finds_nothing() -> None:
    shard = CountingShard()
    shard.released.set()
    remote = _remote(shard)
    await remote.put_many([ONE], rows(1))

    assert (await remote.get_many([ONE], 3)).rows.tolist() == []
    assert (await remote.get_many([ONE], 2)).rows.tolist() == [0]


@pytest.mark.parametrize("ttl_s", [None, 60.0])
async def test_hits_have_their_time_to_live(ttl_s: float | None) -> None:
    shard = CountingShard(ttl_s)
    shard.released.set()
    remote = _remote(shard)
    await remote.put_many([ONE, THREE], rows(1, 3))
    hits = await remote.get_many([NONE, THREE, ONE], 2)

    if ttl_s is None:
        assert hits.ttls_s is None
    else:
        assert hits.ttls_s is not None
        assert ((hits.ttls_s > 0) & (hits.ttls_s <= ttl_s)).tolist() == [True, True]


async def test_many_entries_are_inserted_by_several_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CALL_KEYS", 4)
    shard = CountingShard()
    shard.released.set()
    remote = _remote(shard)
    keys = [number.to_bytes(32, "big") for number in range(10)]
    await remote.put_many(keys, rows(*range(10)))
    hits = await remote.get_many(keys, 2)

    assert shard.insertions == [4, 4, 2]
    assert hits.entries.token_counts.tolist() == list(range(10))


async def test_ragged_rows_are_sent_by_their_bytes_and_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "INSERTED_BYTES", 1000)
    shard = CountingShard()
    shard.released.set()
    remote = _remote(shard)
    names = keys(range(9))
    given = entries(range(9), RAGGED)
    given.vectors[4] = bytes(2000)
    await remote.put_many(names, given)
    hits = await remote.get_many([*names, NONE], RAGGED)

    assert len(shard.insertions) == 3
    assert hits.rows.tolist() == list(range(9))
    assert hits.entries.vectors.tolist() == given.vectors.tolist()
    assert hits.within(2020).entries.vectors.tolist() == given.vectors.tolist()[:4]
    assert hits.within(10**6) is hits
    assert len(hits.within(1).rows) == 1
