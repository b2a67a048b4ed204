"""An index of several shards in this process, with points and queries for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from deployments.index.replica import IndexReplica
from deployments.index.sharded_client import RemoteIndex
from deployments.settings.service import ServeSettings
from embedder.core.deadline import NEVER
from embedder.index.contract.points import (
    Hit,
    Metric,
    Points,
    Query,
    Spec,
)
from tests.unit.deployments.local_handle import LocalHandle, as_handle

WIDTH = 4
NAME = "things"
L2 = Spec(Metric.L2, width=WIDTH)


class Index:
    """An index of some shards in this process; any of them can be broken by its number."""

    def __init__(self, shards: int, kind: type[IndexReplica] = IndexReplica) -> None:
        settings = ServeSettings(data_directory=None)
        self.shards = [kind(settings, f"VectorIndex-{shard}") for shard in range(shards)]
        self.handles = [LocalHandle(shard) for shard in self.shards]
        named = {f"VectorIndex-{at}": as_handle(one) for at, one in enumerate(self.handles)}
        self.remote = RemoteIndex(named)

    async def close(self) -> None:
        for shard in self.shards:
            await shard._stop()

    async def found(self, *queries: Query, complete: bool = False) -> list[list[Hit]]:
        found = await self.remote.search(queries, complete=complete, deadline=NEVER)
        return [list(hits) for hits in found.hits]


def make_points(count: int, *, width: int = WIDTH) -> Points:
    random = np.random.default_rng(0)
    return Points(
        ids=[f"point {number}" for number in range(count)],
        vectors=random.standard_normal((count, width)).astype(np.float32),
        texts=[f"text {number}" for number in range(count)],
        metadata=[{"n": number} for number in range(count)],
    )


def make_query(**fields: Any) -> Query:
    given = {"vector": np.ones(WIDTH, np.float32), "top_k": 7, **fields}
    return Query(NAME, **given)
