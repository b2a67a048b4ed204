"""After a shard's return nothing deleted reappears, and no partial answer passes as complete."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from deployments.index.sharded_client import RemoteIndex
from embedder.core.deadline import NEVER
from embedder.core.errors import StageUnavailable, Unavailable, UnknownCollection
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Metric, Spec
from tests.unit.deployments.index.shards import NAME, WIDTH, Index, make_points, make_query
from tests.unit.deployments.local_handle import as_handle

GONE = StageUnavailable("VectorIndex", "gone")
SPEC = Spec(Metric.L2, width=WIDTH)


@pytest.fixture
async def index() -> AsyncIterator[Index]:
    """Yield an index of two shards with a filled collection, which an ingress has just used."""
    made = Index(2)
    await made.remote.create(NAME, SPEC, NEVER)
    await made.remote.upsert(NAME, make_points(40), NEVER)
    await made.found(make_query(top_k=40))
    yield made
    await made.close()


def _elsewhere(index: Index) -> RemoteIndex:
    """Return the same shards as another ingress sees them, which has looked nothing up."""
    return RemoteIndex(
        {f"VectorIndex-{at}": as_handle(one) for at, one in enumerate(index.handles)}
    )


READS: dict[str, Callable[[RemoteIndex], Awaitable[Any]]] = {
    "search": lambda remote: remote.search([make_query(top_k=40)], complete=False, deadline=NEVER),
    "complete search": lambda remote: remote.search([make_query()], complete=True, deadline=NEVER),
    "search by id": lambda remote: remote.search(
        [make_query(vector=None, id="point 1")], complete=False, deadline=NEVER
    ),
    "count": lambda remote: remote.count(NAME, None, NEVER),
    "count by a filter": lambda remote: remote.count(NAME, parse({"n": {"$lt": 20}}), NEVER),
    "scroll": lambda remote: remote.scroll(NAME, None, 40, None, (), deadline=NEVER),
    "fetch": lambda remote: remote.fetch(NAME, make_points(40).ids, (), NEVER),
    "describe": lambda remote: remote.describe(NAME, NEVER),
    "delete_matching": lambda remote: remote.delete_matching(NAME, parse({"n": 1}), NEVER),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("away", [0, 1])
async def test_a_deletion_that_a_shard_missed_is_completed_after_its_return(
    index: Index, away: int, read: Callable[[RemoteIndex], Awaitable[Any]]
) -> None:
    index.handles[away].fault = GONE
    with pytest.raises(StageUnavailable):
        await _elsewhere(index).delete(NAME, NEVER)
    index.handles[away].fault = None
    with pytest.raises(UnknownCollection):
        await read(index.remote)

    assert await index.remote.collections(NEVER) == []
    assert [await shard.call("collections") for shard in index.shards] == [[], []]


@pytest.mark.parametrize("away", [0, 1])
@pytest.mark.parametrize("again", [True, False])
async def test_a_new_collection_has_no_points_of_the_old_one(
    index: Index, away: int, again: bool
) -> None:
    index.handles[away].fault = GONE
    with pytest.raises(StageUnavailable):
        await _elsewhere(index).delete(NAME, NEVER)
    if again:
        with pytest.raises(StageUnavailable):
            await _elsewhere(index).create(NAME, SPEC, NEVER)
    index.handles[away].fault = None
    await _elsewhere(index).create(NAME, SPEC, NEVER)
    points = make_points(3)
    new = replace(points, ids=["new 1", "new 2", "new 3"])
    await index.remote.upsert(NAME, new, NEVER)
    answer = await index.remote.search([make_query(top_k=40)], complete=False, deadline=NEVER)

    assert {hit.id for hit in answer.hits[0]} == set(new.ids)
    assert answer.missing == []
    assert await index.remote.count(NAME, None, NEVER) == 3


async def test_a_creation_that_a_shard_missed_is_completed(index: Index) -> None:
    index.handles[1].fault = GONE
    with pytest.raises(StageUnavailable):
        await index.remote.create("new", SPEC, NEVER)
    index.handles[1].fault = None

    assert await index.remote.count("new", None, NEVER) == 0
    identities = {(await shard.call("describe", "new")).identity for shard in index.shards}
    assert identities == {(await index.remote.describe("new", NEVER)).identity}


async def test_a_second_deletion_is_not_found_or_completes_the_first(index: Index) -> None:
    index.handles[1].fault = GONE
    for _ in range(2):
        with pytest.raises(StageUnavailable):
            await index.remote.delete(NAME, NEVER)
    index.handles[1].fault = None
    await index.remote.delete(NAME, NEVER)
    with pytest.raises(UnknownCollection):
        await index.remote.delete(NAME, NEVER)


async def test_while_a_shard_is_down_the_answer_names_it(index: Index) -> None:
    index.handles[0].fault = GONE
    answer = await _elsewhere(index).search([make_query(top_k=40)], complete=False, deadline=NEVER)

    assert answer.missing == ["VectorIndex-0"]
    for name in ("count", "scroll", "describe"):
        with pytest.raises(StageUnavailable):
            await READS[name](index.remote)


async def test_a_shard_with_an_older_creation_never_answers_for_the_new_one(index: Index) -> None:
    other = Index(1)
    await other.remote.create(NAME, replace(SPEC, identity="other"), NEVER)
    await other.remote.upsert(NAME, make_points(9), NEVER)
    index.handles[1]._stage = other.shards[0]
    with pytest.raises(Unavailable, match="different collections"):
        await index.remote.search([make_query()], complete=False, deadline=NEVER)
    await other.close()
