"""The steps of a traced request in the index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from deployments.index.client import ShardedHits
from deployments.index.replica import IndexReplica
from deployments.index.sharded_client import RemoteIndex
from deployments.settings.service import ServeSettings
from embedder.core.deadline import NEVER
from embedder.core.tracing import Traced, serving
from embedder.index.contract.points import Points, Query
from tests.unit.deployments.local_handle import LocalHandle, as_handle
from tests.unit.traces import Traces, context_of, parent_of

NAMES = ("VectorIndex-0", "VectorIndex-1")


@pytest.fixture
async def index() -> AsyncIterator[RemoteIndex]:
    """Yield an index of two shards."""
    shards = [IndexReplica(ServeSettings(data_directory=None), name) for name in NAMES]
    yield RemoteIndex(
        {name: as_handle(LocalHandle(shard)) for name, shard in zip(NAMES, shards, strict=True)}
    )
    for shard in shards:
        await shard._stop()


async def test_each_call_to_a_shard_is_a_step(index: RemoteIndex) -> None:
    traces, vectors = Traces(), np.eye(8, dtype=np.float32)
    request = traces.request()
    points = Points([str(row) for row in range(8)], vectors, [None] * 8, [{}] * 8)
    with serving(request):
        await index.upsert("secret", points, NEVER)
    calls = {
        (span.attributes["shard"], span.attributes["method"])
        for span in traces.named("index")
        if span.attributes is not None
    }

    assert {(name, "upsert") for name in NAMES} <= calls
    assert {parent_of(span) for span in traces.ended} == {*request.contexts}
    assert "secret" not in "".join(span.to_json() for span in traces.ended)


async def test_searches_of_several_requests_that_share_a_call_have_a_step_each(
    index: RemoteIndex,
) -> None:
    traces, vectors = Traces(), np.eye(4, dtype=np.float32)
    points = Points([str(row) for row in range(4)], vectors, [None] * 4, [{}] * 4)
    await index.upsert("c", points, NEVER)
    await index.search([Query("c", vectors[0], 1)], complete=True, deadline=NEVER)

    async def search(request: Traced | None, row: int) -> ShardedHits:
        with serving(request):
            return await index.search([Query("c", vectors[row], 1)], complete=True, deadline=NEVER)

    one, two = traces.request(), traces.request()
    await asyncio.gather(search(one, 0), search(None, 1), search(two, 2))
    searches = traces.named("search")

    assert sorted(map(parent_of, searches)) == sorted([*one.contexts, *two.contexts] * 2)
    assert {parent_of(span) for span in traces.named("queue")} == {*map(context_of, searches)}
