"""The shards of the index as one: they answer as a single one would, and a lost one is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deployments.index import sharded_client as remote_index
from deployments.index.replica import IndexShard
from deployments.index.sharded_client import RemoteIndex
from deployments.settings import ServeSettings
from embedder.core.errors import (
    EmbedderError,
    InvalidInput,
    NotFound,
    StageUnavailable,
    UnknownCollection,
)
from embedder.core.storage_errors import StorageDamaged
from embedder.index.contract.checks import check_points
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import (
    CollectionInfo,
    Hit,
    Metric,
    Points,
    Query,
    Spec,
    StoredModel,
)
from tests.unit.deployments.ingress.fake_service import LocalHandle, as_handle
from tests.unit.deployments.rpc.replica import from_replica

WIDTH = 4
NAME = "things"
L2 = Spec(Metric.L2, width=WIDTH)


class Index:
    """An index of some shards in this process; any of them can be broken by its number."""

    def __init__(self, shards: int) -> None:
        settings = ServeSettings(data_directory=None)
        self.shards = [IndexShard(settings, f"VectorIndex-{shard}") for shard in range(shards)]
        self.handles = [LocalHandle(shard) for shard in self.shards]
        named = {f"VectorIndex-{at}": as_handle(one) for at, one in enumerate(self.handles)}
        self.remote = RemoteIndex(named)

    async def close(self) -> None:
        for shard in self.shards:
            await shard._stop()

    async def found(self, *queries: Query, complete: bool = False) -> list[list[Hit]]:
        found = await self.remote.search(queries, complete=complete, deadline=None)
        return [list(hits) for hits in found.hits]


@pytest.fixture
async def several() -> AsyncIterator[Index]:
    """Yield an index of three shards."""
    index = Index(3)
    yield index
    await index.close()


@pytest.fixture
async def single() -> AsyncIterator[Index]:
    """Yield an index of one shard, which the others are compared with."""
    index = Index(1)
    yield index
    await index.close()


def _points(count: int, *, width: int = WIDTH) -> Points:
    random = np.random.default_rng(0)
    return Points(
        ids=[f"point {number}" for number in range(count)],
        vectors=random.standard_normal((count, width)).astype(np.float32),
        texts=[f"text {number}" for number in range(count)],
        metadata=[{"n": number} for number in range(count)],
    )


def _query(**fields: Any) -> Query:
    given = {"vector": np.ones(WIDTH, np.float32), "top_k": 7, **fields}
    return Query(NAME, **given)


def _same(one: Sequence[Hit], other: Sequence[Hit]) -> None:
    assert [hit.id for hit in one] == [hit.id for hit in other]
    assert [hit.score for hit in one] == pytest.approx([hit.score for hit in other], abs=1e-5)
    assert [(hit.text, hit.metadata) for hit in one] == [(hit.text, hit.metadata) for hit in other]


QUERIES: dict[str, dict[str, Any]] = {
    "by vector": {},
    "more than there are": {"top_k": 1000},
    "filtered": {"filter": parse({"n": {"$lt": 20}})},
    "above a score": {"threshold": -4.0},
    "by id": {"vector": None, "id": "point 5"},
    "diverse": {"diversity": 0.7},
}


@pytest.mark.parametrize("fields", QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize("metric", list(Metric))
async def test_several_shards_answer_as_one_would(
    several: Index, single: Index, fields: dict[str, Any], metric: Metric
) -> None:
    for index in (several, single):
        await index.remote.create(NAME, Spec(metric, width=WIDTH), None)
        await index.remote.upsert(NAME, _points(60), None)
    if "threshold" in fields and metric in (Metric.COSINE, Metric.DOT):
        fields = {"threshold": 0.1}
    (expected,) = await single.found(_query(**fields))
    (found,) = await several.found(_query(**fields))

    assert len(expected) >= 5
    _same(found, expected)


async def test_points_lie_over_all_shards_and_each_in_one(several: Index) -> None:
    await several.remote.create(NAME, L2, None)
    await several.remote.upsert(NAME, _points(60), None)
    await several.remote.upsert(NAME, _points(60), None)
    counts = [(await shard.describe(NAME)).count for shard in several.shards]
    info = await several.remote.describe(NAME, None)

    assert sum(counts) == info.count == 60
    assert min(counts) > 5
    assert (info.metric, info.width) == (Metric.L2, WIDTH)
    assert [one.count for one in await several.remote.collections(None)] == [60]


async def test_points_are_checked_beside_the_event_loop(
    several: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def checking(points: Points, **rest: Any) -> None:
        threads.append(threading.current_thread())
        check_points(points, **rest)

    monkeypatch.setattr(remote_index, "check_points", checking)
    await several.remote.upsert(NAME, _points(3), None)

    assert len(threads) == 1
    assert threading.current_thread() not in threads


async def test_points_are_read_paged_counted_and_deleted_wherever_they_are(
    several: Index,
) -> None:
    index = several.remote
    await index.upsert(NAME, _points(60), None)
    ids = [f"point {number}" for number in (40, 3, 59, 3)]
    fetched = await index.fetch(NAME, [*ids, "gone"], ("metadata",), None)
    pages, cursor = [], None
    while True:
        page = await index.scroll(NAME, cursor, 7, None, (), deadline=None)
        pages.append([record.id for record in page.records])
        if (cursor := page.cursor) is None:
            break
    deleted = await index.delete_points(NAME, ids, None)
    matching = await index.delete_matching(NAME, parse({"n": {"$gte": 50}}), None)

    assert [record.metadata["n"] for record in fetched] == [40, 3, 59]
    assert sorted(name for one in pages for name in one) == sorted(_points(60).ids)
    assert max(map(len, pages)) == 7
    assert (deleted.count, matching.count) == (3, 9)
    assert await index.count(NAME, None, None) == 48
    assert await index.count(NAME, parse({"n": {"$lt": 10}}), None) == 9


async def test_a_request_of_which_any_point_is_wrong_stores_nothing_anywhere(
    several: Index,
) -> None:
    await several.remote.upsert(NAME, _points(60), None)
    new = _points(90)
    wrong = [
        _points(90, width=3),
        replace(new, ids=[*new.ids[:-1], new.ids[0]]),
        replace(new, vectors=np.where(np.arange(90)[:, None] == 80, np.nan, new.vectors)),
    ]
    for points in wrong:
        with pytest.raises(InvalidInput):
            await several.remote.upsert(NAME, points, None)

    assert await several.remote.count(NAME, None, None) == 60


async def test_a_lost_shard_is_missing_from_a_search_and_told(several: Index) -> None:
    await several.remote.upsert(NAME, _points(60), None)
    several.handles[1].fault = StageUnavailable("VectorIndex-1", "gone")
    answer = await several.remote.search([_query(top_k=60)], complete=False, deadline=None)
    lost = {record.id for record in (await several.shards[1].scroll(NAME, None, 60, None, ()))[1]}

    assert answer.missing == ["VectorIndex-1"]
    assert {hit.id for hit in answer.hits[0]} == set(_points(60).ids) - lost


async def test_a_damaged_shard_is_missing_from_a_search_and_told(several: Index) -> None:
    await several.remote.upsert(NAME, _points(60), None)
    several.handles[1].fault = from_replica(StorageDamaged("truth.db", "is flipped"))
    answer = await several.remote.search([_query(top_k=60)], complete=False, deadline=None)

    assert answer.missing == ["VectorIndex-1"]
    assert 0 < len(answer.hits[0]) < 60
    with pytest.raises(StorageDamaged):
        await several.remote.search([_query()], complete=True, deadline=None)


async def test_every_answer_of_a_search_tells_how_large_the_collection_is(several: Index) -> None:
    await several.remote.upsert(NAME, _points(60), None)
    assert several.remote.searched(NAME) is None
    several.handles[0].fault = StageUnavailable("VectorIndex-0", "is gone")
    await several.found(_query())
    info = several.remote.searched(NAME)

    assert info is not None
    assert 5 < info.count < 60


async def test_a_search_that_has_to_be_complete_fails_without_a_shard(several: Index) -> None:
    await several.remote.upsert(NAME, _points(60), None)
    several.handles[1].fault = StageUnavailable("VectorIndex-1", "gone")

    with pytest.raises(StageUnavailable):
        await several.remote.search([_query()], complete=True, deadline=None)


async def test_without_any_shard_a_search_fails(several: Index) -> None:
    await several.remote.upsert(NAME, _points(60), None)
    for handle in several.handles:
        handle.fault = StageUnavailable("VectorIndex", "gone")

    with pytest.raises(StageUnavailable):
        await several.remote.search([_query()], complete=False, deadline=None)


async def test_a_shard_that_was_away_when_a_collection_was_made_gets_it_with_its_points(
    several: Index,
) -> None:
    for shard in several.shards[:2]:
        await shard.create(NAME, replace(L2, identity="one"))
    await several.remote.upsert(NAME, _points(60), None)

    assert (await several.shards[2].describe(NAME)).metric is Metric.L2
    assert await several.remote.count(NAME, None, None) == 60


async def test_what_is_nowhere_is_not_found(several: Index) -> None:
    with pytest.raises(UnknownCollection):
        await several.remote.search([_query()], complete=False, deadline=None)
    await several.remote.upsert(NAME, _points(9), None)
    with pytest.raises(NotFound, match="gone"):
        await several.found(_query(vector=None, id="gone"))


async def test_a_recorded_model_is_asked_for_once_in_a_while(single: Index) -> None:
    model = StoredModel("letters", "1", "0" * 64, "mean")

    async def recorded(info: CollectionInfo | None) -> StoredModel | None:
        return info.stored if info else None

    await single.remote.put(NAME, _points(1), model, None, None)
    first = await single.remote.known.on(NAME, recorded, deadline=None, texts=True)
    single.handles[0].fault = StageUnavailable("VectorIndex-0", "gone")

    assert first == model
    assert await single.remote.known.on(NAME, recorded, deadline=None, texts=True) == model


async def test_searches_that_wait_together_travel_together_and_fail_alone(
    single: Index,
) -> None:
    await single.remote.upsert(NAME, _points(9), None)
    asked: list[int] = []
    search = single.shards[0].search

    async def counting(queries: Sequence[Query]) -> Any:
        asked.append(len(queries))
        try:
            return await search(queries)
        except EmbedderError as error:
            raise from_replica(error) from None

    single.shards[0].search = counting  # type: ignore[method-assign]
    answers = await asyncio.gather(*(single.found(_query(top_k=1 + n % 3)) for n in range(20)))
    together = len(asked)
    mixed = await asyncio.gather(
        single.found(_query(top_k=3)),
        single.found(Query("gone", np.ones(WIDTH, np.float32), 3)),
        single.found(_query(top_k=4)),
        return_exceptions=True,
    )

    assert together < 10
    assert [len(hits) for (hits,) in answers] == [1 + n % 3 for n in range(20)]
    assert isinstance(mixed[1], UnknownCollection)
    assert [len(one[0]) for one in mixed if isinstance(one, list)] == [3, 4]
