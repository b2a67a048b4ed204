"""Reads of several replicas of a shard: what they ask for, and where a replica answers them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from deployments.index.client import RemoteShard
from deployments.index.replica import IndexReplica
from deployments.index.sharded_client import RemoteIndex
from deployments.rpc.pickled_rows import PickledRows
from embedder.core.deadline import NEVER
from embedder.core.errors import StageUnavailable, UnknownCollection
from embedder.core.storage_errors import StaleCollection
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Hit, Query
from tests.unit.deployments.index.shards import L2, NAME, Index, make_points, make_query
from tests.unit.deployments.local_handle import as_handle
from tests.unit.waiting import LONG_S

DOWN = StageUnavailable("database of the index", "is down")


class _Without:
    """A replica whose database is down."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    async def call(self, name: str, queries: Sequence[Query]) -> Any:
        self.calls.append([query.consistency for query in queries])
        if any(query.consistency == "latest" for query in queries):
            raise DOWN
        return [PickledRows.of(Hit, []) for _ in queries], []


async def test_a_stale_search_shares_no_call_with_one_that_needs_the_database() -> None:
    replica = _Without()
    shard = RemoteShard("VectorIndex-0", as_handle(replica))
    queries = [make_query(), make_query(consistency="stale")] * 3
    answers = await asyncio.gather(
        *(shard.search([query], NEVER) for query in queries), return_exceptions=True
    )

    assert [isinstance(one, StageUnavailable) for one in answers] == [True, False] * 3
    assert all(len(set(call)) == 1 for call in replica.calls)
    assert sum(map(len, replica.calls)) == len(queries)


async def test_a_search_without_queries_has_no_answers() -> None:
    shard = RemoteShard("VectorIndex-0", as_handle(_Without()))

    assert (await shard.search([], NEVER)).hits == []


async def test_stale_reads_repair_nothing(several: Index) -> None:
    """The shards answer for different moments then, so a difference may be none."""
    for shard in several.shards[:2]:
        await shard.call("create", NAME, replace(L2, identity="one"))
    stale = several.remote.reading("stale")

    assert [one.name for one in await stale.collections(NEVER)] == [NAME]
    with pytest.raises(UnknownCollection):
        await several.shards[2].call("describe", NAME)
    assert [one.name for one in await several.remote.collections(NEVER)] == [NAME]
    assert (await several.shards[2].call("describe", NAME)).name == NAME


async def test_stale_reads_of_several_shards_answer_as_the_latest(several: Index) -> None:
    await several.remote.upsert(NAME, make_points(60), NEVER)
    reads = [several.remote, several.remote.reading("stale")]
    query = {"top_k": 60, "diversity": 0.5}

    assert [await one.count(NAME, None, NEVER) for one in reads] == [60, 60]
    assert [(await one.describe(NAME, NEVER)).count for one in reads] == [60, 60]
    assert len({len(await one.fetch(NAME, make_points(9).ids, (), NEVER)) for one in reads}) == 1
    pages = [await one.scroll(NAME, None, 60, None, (), deadline=NEVER) for one in reads]
    assert pages[0].records == pages[1].records
    found = [
        await one.search([make_query(consistency=kind, **query)], complete=True, deadline=NEVER)
        for one, kind in zip(reads, ("latest", "stale"), strict=True)
    ]
    assert len({tuple(hit.id for hit in one.hits[0]) for one in found}) == 1


async def test_a_stale_search_leaves_out_a_shard_with_another_creation_of_the_collection(
    several: Index,
) -> None:
    """A latest one looks the collection up again, and repairs the shard."""
    await several.remote.upsert(NAME, make_points(60), NEVER)
    stale, query = several.remote.reading("stale"), make_query(top_k=60, consistency="stale")
    assert (await stale.search([query], complete=False, deadline=NEVER)).missing == []
    await several.shards[1].call("delete", NAME)
    await several.shards[2].call("delete", NAME)
    await several.shards[2].call("create", NAME, replace(L2, identity="another"))
    answer = await stale.search([query], complete=False, deadline=NEVER)

    assert answer.missing == ["VectorIndex-1", "VectorIndex-2"]
    assert 0 < len(answer.hits[0]) < 60
    with pytest.raises(StaleCollection):
        await stale.search([query], complete=True, deadline=NEVER)


class _Following(IndexReplica):
    """A replica that behaves as one of several, over a shard of its own."""

    def follow(self) -> None:
        """Let calls that want the latest ask a database."""
        self._follows = True


@pytest.fixture
async def following() -> AsyncIterator[_Following]:
    """Yield a replica with nine points, which asks a database for the latest ones."""
    index = Index(1, kind=_Following)
    (shard,) = index.shards
    assert isinstance(shard, _Following)
    await shard.call("upsert", NAME, make_points(9))
    shard.follow()
    yield shard
    await index.close()


class _Hung:
    """A database that does not answer: calls that want the latest wait in ``method``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, shard: IndexReplica, *methods: str) -> None:
        self.go = threading.Event()
        for method in methods:
            monkeypatch.setattr(shard._index, method, self._waiting(getattr(shard._index, method)))

    def _waiting(self, method: Any) -> Any:
        def wait(*arguments: Any) -> Any:
            queries = arguments[0] if arguments and isinstance(arguments[0], list) else []
            stale = "stale" in arguments or any(one.consistency == "stale" for one in queries)
            assert stale or self.go.wait(LONG_S)
            return method(*arguments)

        return wait


async def test_while_the_database_hangs_health_and_stale_reads_go_on(
    following: _Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = _Hung(monkeypatch, following, "describe", "collections", "search", "count")
    latest = [
        asyncio.ensure_future(call)
        for _ in range(20)
        for call in (
            following.call("describe", NAME, "latest"),
            following.call("collections", "latest"),
            following.call("search", [make_query()]),
            following.call("count", NAME, None, "latest"),
        )
    ]
    await asyncio.sleep(0)
    async with asyncio.timeout(LONG_S / 2):
        await following.check_health()
        assert (await following.call("describe", NAME, "stale")).count == 9
        assert len(await following.call("collections", "stale")) == 1
        hits, infos = await following.call("search", [make_query(consistency="stale")])
    assert len(list(hits[0])) == 7
    assert infos[0].count == 9
    hung.go.set()
    await asyncio.gather(*latest)


async def test_the_price_of_a_call_for_an_unknown_collection_does_not_ask_the_database(
    following: _Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica may have created it: this one learns of it when the call runs."""
    monkeypatch.setattr(following._index, "describe", pytest.fail)

    assert following._index.known_points(NAME) == 9
    assert following._index.known_points("other") == 0
    with pytest.raises(UnknownCollection):
        await following.call("count", "other", parse({"n": 1}), "latest")


async def test_reads_of_one_index_keep_their_caches_apart(single: Index) -> None:
    remote: RemoteIndex = single.remote

    assert remote.reading("latest") is remote
    assert remote.reading("stale").collection_cache is not remote.collection_cache
