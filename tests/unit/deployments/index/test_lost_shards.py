"""The answers of an index while some of its shards are lost or damaged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from embedder.core.deadline import NEVER
from embedder.core.errors import (
    NotFound,
    StageUnavailable,
    UnknownCollection,
)
from embedder.core.storage_errors import StorageDamaged
from embedder.index.contract.points import (
    Metric,
)
from tests.unit.deployments.index.shards import L2, NAME, Index, make_points, make_query
from tests.unit.deployments.rpc.replica_errors import from_replica


async def test_a_search_names_a_lost_shard(several: Index) -> None:
    await several.remote.upsert(NAME, make_points(60), NEVER)
    several.handles[1].fault = StageUnavailable("VectorIndex-1", "gone")
    answer = await several.remote.search([make_query(top_k=60)], complete=False, deadline=NEVER)
    _, records = await several.shards[1].call("scroll", NAME, None, 60, None, ())
    lost = {record.id for record in records}

    assert answer.missing == ["VectorIndex-1"]
    assert {hit.id for hit in answer.hits[0]} == set(make_points(60).ids) - lost


async def test_a_search_names_a_damaged_shard(several: Index) -> None:
    await several.remote.upsert(NAME, make_points(60), NEVER)
    several.handles[1].fault = from_replica(StorageDamaged("truth.db", "is flipped"))
    answer = await several.remote.search([make_query(top_k=60)], complete=False, deadline=NEVER)

    assert answer.missing == ["VectorIndex-1"]
    assert 0 < len(answer.hits[0]) < 60
    with pytest.raises(StorageDamaged):
        await several.remote.search([make_query()], complete=True, deadline=NEVER)


async def test_every_search_updates_the_description_of_the_collection(several: Index) -> None:
    await several.remote.upsert(NAME, make_points(60), NEVER)
    assert several.remote.searched(NAME) is None
    several.handles[0].fault = StageUnavailable("VectorIndex-0", "is gone")
    await several.found(make_query())
    info = several.remote.searched(NAME)

    assert info is not None
    assert 5 < info.count < 60


async def test_a_complete_search_fails_without_a_shard(several: Index) -> None:
    await several.remote.upsert(NAME, make_points(60), NEVER)
    several.handles[1].fault = StageUnavailable("VectorIndex-1", "gone")

    with pytest.raises(StageUnavailable):
        await several.remote.search([make_query()], complete=True, deadline=NEVER)


async def test_without_any_shard_a_search_fails(several: Index) -> None:
    await several.remote.upsert(NAME, make_points(60), NEVER)
    for handle in several.handles:
        handle.fault = StageUnavailable("VectorIndex", "gone")

    with pytest.raises(StageUnavailable):
        await several.remote.search([make_query()], complete=False, deadline=NEVER)


async def test_a_shard_that_missed_a_creation_gets_the_collection_with_its_points(
    several: Index,
) -> None:
    for shard in several.shards[:2]:
        await shard.call("create", NAME, replace(L2, identity="one"))
    await several.remote.upsert(NAME, make_points(60), NEVER)

    assert (await several.shards[2].call("describe", NAME)).metric is Metric.L2
    assert await several.remote.count(NAME, None, NEVER) == 60


async def test_an_unknown_collection_is_not_found(several: Index) -> None:
    with pytest.raises(UnknownCollection):
        await several.remote.search([make_query()], complete=False, deadline=NEVER)
    await several.remote.upsert(NAME, make_points(9), NEVER)
    with pytest.raises(NotFound, match="gone"):
        await several.found(make_query(vector=None, id="gone"))
