"""Every call to a shard of several replicas may go to another one, and none of them is behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployments.index.sharded_client import RemoteIndex
from deployments.operations.backups import IndexBackups
from deployments.operations.collections import CollectionOperations
from embedder.core.deadline import NEVER
from embedder.core.errors import StageUnavailable, UnknownCollection
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Metric, Points, Query, Spec
from tests.unit.deployments.index_service import IndexService, search
from tests.unit.deployments.two_model_service import (
    DIGITS,
    NAME,
    TEXTS,
    check,
    filled_service,
    ignore,
    index_of,
    reembedding_of,
)
from tests.unit.index.storage.postgres.postgres_server import running_server

REPLICAS = 3
L2 = Spec(Metric.L2, width=4)


@pytest.fixture(params=[1, 2])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[IndexService]:
    """Yield a filled service of one shard, and one of two."""
    url = running_server().create_database()
    made = filled_service(tmp_path / "data", request.param, url=url, replicas=REPLICAS)
    yield made
    made.close()


def _points(*numbers: int) -> Points:
    vectors = np.array([[number, 1, 0, 0] for number in numbers], np.float32)
    ids = [f"n{number}" for number in numbers]
    return Points(ids, vectors, [None] * len(ids), [{"n": number} for number in numbers])


async def _nearest(index: RemoteIndex, number: int, **fields: Any) -> list[str]:
    vector = np.array([number, 1, 0, 0], np.float32)
    query = Query("c", vector, 1, include=(), **fields)
    found = await index.search([query], complete=True, deadline=NEVER)
    return [hit.id for hit in found.hits[0]]


async def test_each_write_is_found_at_once_through_another_ingress_and_replica(
    service: IndexService,
) -> None:
    ingresses = cycle([index_of(service), index_of(service)])
    await next(ingresses).create("c", L2, NEVER)
    for number in range(1, 13):
        await next(ingresses).upsert("c", _points(number), NEVER)
        reads = [next(ingresses) for _ in range(REPLICAS)]
        assert [await _nearest(one, number) for one in reads] == [[f"n{number}"]] * REPLICAS
        assert [await one.count("c", None, NEVER) for one in reads] == [number] * REPLICAS
        condition = parse({"n": number})
        assert await next(ingresses).count("c", condition, NEVER) == 1
        fetched = await next(ingresses).fetch("c", [f"n{number}"], ("metadata",), NEVER)
        assert [one.metadata for one in fetched] == [{"n": number}]
        assert (await next(ingresses).describe("c", NEVER)).count == number
        page = await next(ingresses).scroll("c", None, 100, None, (), deadline=NEVER)
        assert len(page.records) == number


async def test_a_deleted_point_and_an_overwritten_one_are_found_by_none(
    service: IndexService,
) -> None:
    one, other = index_of(service), index_of(service)
    await one.create("c", L2, NEVER)
    await one.upsert("c", _points(*range(1, 13)), NEVER)
    for number in range(1, 13):
        if number % 2:
            await other.delete_points("c", [f"n{number}"], NEVER)
        else:
            moved = replace(_points(number), vectors=np.full((1, 4), 100 + number, np.float32))
            await other.upsert("c", moved, NEVER)
        for _ in range(REPLICAS):
            assert f"n{number}" not in await _nearest(one, number)


async def test_a_collection_that_was_created_again_is_the_new_one_everywhere(
    service: IndexService,
) -> None:
    """The other ingress has cached the description of the old one."""
    one, other = index_of(service), index_of(service)
    for round_ in range(4):
        await one.create("c", L2, NEVER)
        await other.upsert("c", _points(round_ + 1), NEVER)
        assert await _nearest(other, round_ + 1) == [f"n{round_ + 1}"]
        assert [info.name for info in await other.collections(NEVER)] == ["c", NAME]
        await one.delete("c", NEVER)
        for _ in range(REPLICAS):
            with pytest.raises(UnknownCollection):
                await _nearest(other, round_ + 1)
        assert [info.name for info in await other.collections(NEVER)] == [NAME]


async def test_what_a_shard_missed_is_repaired_whichever_replica_answers(
    service: IndexService,
) -> None:
    if len(service.handles) == 1:
        pytest.skip("one shard misses nothing")
    index = index_of(service)
    await index.create("c", L2, NEVER)
    handle = service.handles["VectorIndex-1"]
    handle.fault = StageUnavailable("VectorIndex-1", "gone")
    with pytest.raises(StageUnavailable):
        await index.delete("c", NEVER)
    handle.fault = None
    for _ in range(2 * REPLICAS):
        with pytest.raises(UnknownCollection):
            await index_of(service).describe("c", NEVER)


async def test_texts_are_embedded_again_by_calls_to_all_replicas(service: IndexService) -> None:
    info = await reembedding_of(service).reembed(NAME, "digits", ignore)

    assert (info.stored, info.count, info.width) == (DIGITS, len(TEXTS), 3)
    for _ in range(REPLICAS):
        await check(index_of(service), TEXTS, new=True)
    operation = CollectionOperations(service.as_running())
    assert (await search(operation, NAME, "aaaa", 1))[0]["id"] == "p3"


async def test_a_backup_of_one_replica_is_restored_by_another(
    service: IndexService, tmp_path: Path
) -> None:
    backups = IndexBackups(index_of(service).shards)
    assert await backups.back_up(NAME, tmp_path / "backup") == len(TEXTS)
    await backups.restore(tmp_path / "backup", "copy")
    for _ in range(REPLICAS):
        assert await index_of(service).count("copy", None, NEVER) == len(TEXTS)
    await backups.restore(tmp_path / "backup", NAME, replacing=True)
    for _ in range(REPLICAS):
        await check(index_of(service), TEXTS, new=False)


async def test_replicas_report_the_same_points_under_names_of_their_own(
    service: IndexService,
) -> None:
    for _ in range(REPLICAS):
        await check(index_of(service), TEXTS, new=False)
    for name, of_shard in service.replicas.items():
        stats = [await replica.stats() for replica in of_shard]
        assert {one.shard for one in stats} == {name}
        assert len({one.points for one in stats}) == 1
        assert all(one.reads > 0 for one in stats)
