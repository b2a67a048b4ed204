"""Several shards of the index answer like one shard."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deployments.index import sharded_client as remote_index
from embedder.core.deadline import NEVER
from embedder.core.errors import (
    EmbedderError,
    InvalidInput,
    StageUnavailable,
    UnknownCollection,
)
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
from tests.unit.deployments.index.shards import L2, NAME, WIDTH, Index, make_points, make_query
from tests.unit.deployments.rpc.replica_errors import from_replica


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
async def test_several_shards_answer_like_one(
    several: Index, single: Index, fields: dict[str, Any], metric: Metric
) -> None:
    for index in (several, single):
        await index.remote.create(NAME, Spec(metric, width=WIDTH), NEVER)
        await index.remote.upsert(NAME, make_points(60), NEVER)
    if "threshold" in fields and metric in (Metric.COSINE, Metric.DOT):
        fields = {"threshold": 0.1}
    (expected,) = await single.found(make_query(**fields))
    (found,) = await several.found(make_query(**fields))

    assert len(expected) >= 5
    _same(found, expected)


async def test_each_point_is_in_one_shard_and_all_shards_have_points(several: Index) -> None:
    await several.remote.create(NAME, L2, NEVER)
    await several.remote.upsert(NAME, make_points(60), NEVER)
    await several.remote.upsert(NAME, make_points(60), NEVER)
    counts = [(await shard.call("describe", NAME)).count for shard in several.shards]
    info = await several.remote.describe(NAME, NEVER)

    assert sum(counts) == info.count == 60
    assert min(counts) > 5
    assert (info.metric, info.width) == (Metric.L2, WIDTH)
    assert [one.count for one in await several.remote.collections(NEVER)] == [60]


async def test_points_are_checked_in_a_thread(
    several: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def checking(points: Points, **rest: Any) -> None:
        threads.append(threading.current_thread())
        check_points(points, **rest)

    monkeypatch.setattr(remote_index, "check_points", checking)
    await several.remote.upsert(NAME, make_points(3), NEVER)

    assert len(threads) == 1
    assert threading.current_thread() not in threads


async def test_points_are_read_paged_counted_and_deleted_in_all_shards(
    several: Index,
) -> None:
    index = several.remote
    await index.upsert(NAME, make_points(60), NEVER)
    ids = [f"point {number}" for number in (40, 3, 59, 3)]
    fetched = await index.fetch(NAME, [*ids, "gone"], ("metadata",), NEVER)
    pages, cursor = [], None
    while True:
        page = await index.scroll(NAME, cursor, 7, None, (), deadline=NEVER)
        pages.append([record.id for record in page.records])
        if (cursor := page.cursor) is None:
            break
    deleted = await index.delete_points(NAME, ids, NEVER)
    matching = await index.delete_matching(NAME, parse({"n": {"$gte": 50}}), NEVER)

    assert [record.metadata["n"] for record in fetched] == [40, 3, 59]
    assert sorted(name for one in pages for name in one) == sorted(make_points(60).ids)
    assert max(map(len, pages)) == 7
    assert (deleted.count, matching.count) == (3, 9)
    assert await index.count(NAME, None, NEVER) == 48
    assert await index.count(NAME, parse({"n": {"$lt": 10}}), NEVER) == 9


async def test_a_request_with_an_invalid_point_stores_nothing_in_any_shard(
    several: Index,
) -> None:
    await several.remote.upsert(NAME, make_points(60), NEVER)
    new = make_points(90)
    wrong = [
        make_points(90, width=3),
        replace(new, ids=[*new.ids[:-1], new.ids[0]]),
        replace(new, vectors=np.where(np.arange(90)[:, None] == 80, np.nan, new.vectors)),
    ]
    for points in wrong:
        with pytest.raises(InvalidInput):
            await several.remote.upsert(NAME, points, NEVER)

    assert await several.remote.count(NAME, None, NEVER) == 60


async def test_a_recorded_model_is_cached(single: Index) -> None:
    model = StoredModel("letters", "1", "0" * 64, "mean")

    async def recorded(info: CollectionInfo | None) -> StoredModel | None:
        return info.stored if info else None

    await single.remote.put(NAME, make_points(1), model, NEVER, None)
    first = await single.remote.collection_cache.run(NAME, recorded, deadline=NEVER, texts=True)
    single.handles[0].fault = StageUnavailable("VectorIndex-0", "gone")

    assert first == model
    second = await single.remote.collection_cache.run(NAME, recorded, deadline=NEVER, texts=True)
    assert second == model


async def test_waiting_searches_share_calls_and_fail_separately(
    single: Index,
) -> None:
    await single.remote.upsert(NAME, make_points(9), NEVER)
    asked: list[int] = []
    call = single.shards[0].call

    async def counting(name: str, queries: Sequence[Query]) -> Any:
        assert name == "search"
        asked.append(len(queries))
        try:
            return await call(name, queries)
        except EmbedderError as error:
            raise from_replica(error) from None

    single.shards[0].call = counting  # type: ignore[method-assign]
    answers = await asyncio.gather(*(single.found(make_query(top_k=1 + n % 3)) for n in range(20)))
    together = len(asked)
    mixed = await asyncio.gather(
        single.found(make_query(top_k=3)),
        single.found(Query("gone", np.ones(WIDTH, np.float32), 3)),
        single.found(make_query(top_k=4)),
        return_exceptions=True,
    )

    assert together < 10
    assert [len(hits) for (hits,) in answers] == [1 + n % 3 for n in range(20)]
    assert isinstance(mixed[1], UnknownCollection)
    assert [len(one[0]) for one in mixed if isinstance(one, list)] == [3, 4]
