"""A collection that is deleted and created again between two calls to shards."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import closing, suppress
from typing import Any

import numpy as np
import pytest

from deployments.index.replica import IndexReplica
from deployments.index.sharded_client import RemoteIndex
from deployments.settings.service import ServeSettings
from embedder.core.deadline import NEVER
from embedder.core.errors import NotFound, UnknownCollection
from embedder.core.storage_errors import StaleCollection, StorageDamaged
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import CollectionInfo, Points, Query, Spec, StoredModel
from embedder.index.vector_index import VectorIndex
from tests.unit.deployments.local_handle import LocalHandle, as_handle

NAME = "things"
MODEL = StoredModel("letters", "1", "0" * 64, "mean")
COUNT = 8
POINTS = Points(
    [f"p{row}" for row in range(COUNT)],
    np.eye(COUNT, dtype=np.float32)[:, :4] + 1,
    ["text"] * COUNT,
    [{"n": row} for row in range(COUNT)],
)
QUERY = Query(NAME, np.ones(4, np.float32), 5)
MOST_CALLS = 60
"""More than any work has."""
ALL = parse({"n": {"$gte": 0}})


class Interrupted:
    """Two shards, on some of which the collection changes before the call of a number."""

    def __init__(self, shards: Collection[int], *, again: bool) -> None:
        settings = ServeSettings(data_directory=None)
        self._on, self._again = shards, again
        self._busy = asyncio.Lock()
        self._at = self.calls = -1  # calls are counted from `begin` on
        self.shards = [IndexReplica(settings, f"VectorIndex-{at}") for at in range(2)]
        handles = {f"VectorIndex-{at}": self._handle(one) for at, one in enumerate(self.shards)}
        self.index = RemoteIndex({name: as_handle(one) for name, one in handles.items()})

    async def begin(self, at: int) -> CollectionInfo:
        """Create and fill the collection again; change it before call number ``at`` from now."""
        self._at = self.calls = -1
        for shard in self.shards:
            with suppress(UnknownCollection):
                await shard.call("delete", NAME)
        await self.index.create(NAME, Spec(width=4), NEVER)
        await self.index.upsert(NAME, POINTS, NEVER)
        self.index.collection_cache.forget(NAME)
        self._at, self.calls = at, 0
        info: CollectionInfo = await self.shards[0].call("describe", NAME)
        return info

    async def close(self) -> None:
        for shard in self.shards:
            await shard._stop()

    def _handle(self, shard: IndexReplica) -> LocalHandle:
        handle = LocalHandle(shard)
        answer = handle._answer

        async def interrupted(method: str, args: Sequence[Any]) -> Any:
            async with self._busy:
                if self.calls == self._at >= 0:
                    await self._change()
                self.calls += 1
            return await answer(method, args)

        handle._answer = interrupted  # type: ignore[method-assign]
        return handle

    async def _change(self) -> None:
        again = Spec(width=4, identity=uuid.uuid4().hex)
        for at in self._on:
            with suppress(UnknownCollection):  # the work itself may have deleted it
                await self.shards[at].call("delete", NAME)
                if self._again:
                    await self.shards[at].call("create", NAME, again)


Work = Callable[[RemoteIndex, CollectionInfo], Coroutine[Any, Any, object]]


async def _put(index: RemoteIndex, model: StoredModel | None) -> int:
    async def put(info: CollectionInfo | None) -> int:
        return await index.put(NAME, POINTS, model, NEVER, info)

    return await index.collection_cache.run(NAME, put, deadline=NEVER, texts=True)


WORKS: dict[str, Work] = {
    "create": lambda index, _: index.create(NAME, Spec(width=4), NEVER),
    "describe": lambda index, _: index.describe(NAME, NEVER),
    "list": lambda index, _: index.collections(NEVER),
    "delete": lambda index, _: index.delete(NAME, NEVER),
    "upsert": lambda index, _: index.upsert(NAME, POINTS, NEVER),
    "texts": lambda index, _: _put(index, MODEL),
    "record": lambda index, info: index.record_model(info, MODEL, NEVER),
    "delete points": lambda index, _: index.delete_points(NAME, POINTS.ids, NEVER),
    "delete matching": lambda index, _: index.delete_matching(NAME, ALL, NEVER),
    "fetch": lambda index, _: index.fetch(NAME, POINTS.ids, ("vector",), NEVER),
    "count": lambda index, _: index.count(NAME, ALL, NEVER),
    "scroll": lambda index, _: index.scroll(NAME, None, 9, ALL, ("text",), deadline=NEVER),
    "search": lambda index, _: index.search([QUERY], complete=True, deadline=NEVER),
    "by id": lambda index, _: index.search(
        [Query(NAME, None, 5, id="p1", diversity=0.5)], complete=True, deadline=NEVER
    ),
}


@pytest.mark.parametrize(
    ("shards", "again"), [((0, 1), False), ((0, 1), True), ((0,), True), ((1,), True)]
)
async def test_work_completes_or_is_refused_if_the_collection_changes_at_any_step(
    shards: Collection[int], again: bool
) -> None:
    two = Interrupted(shards, again=again)
    ended: Counter[str] = Counter()
    for name, work in WORKS.items():
        for at in range(MOST_CALLS):
            info = await two.begin(at)
            # 404 and 409: anything else, as a KeyError, fails the test.
            with suppress(UnknownCollection, StaleCollection, NotFound):
                await work(two.index, info)
            if two.calls <= at:  # the work ended before the change
                ended[name] += 1
                break
    await two.close()

    assert ended == Counter(WORKS.keys())


def test_no_model_is_recorded_for_a_damaged_collection() -> None:
    with closing(VectorIndex(background=False)) as index:
        index.create(NAME)
        index._shard.fail(StorageDamaged("index.db", "is damaged", NAME))

        with pytest.raises(StorageDamaged):
            index.record_model(NAME, None, MODEL)
