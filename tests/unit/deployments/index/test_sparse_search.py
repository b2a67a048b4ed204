"""Sparse weights give a point the same score in any number of shards; a lost shard is named."""

from __future__ import annotations

import pytest

from embedder.core.deadline import NEVER
from embedder.core.errors import InvalidInput, StageUnavailable, UnknownCollection
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Hit
from embedder.index.contract.sparse import SparseVector
from embedder.index.contract.sparse_queries import SparseQuery
from tests.unit.deployments.index.shards import NAME, Index
from tests.unit.index.sparse.sparse_oracle import QUERIES, best, contents, points_of

CONTENT = contents(11, 90)


def _queries(top_k: int = 20) -> list[SparseQuery]:
    plain = [SparseQuery(NAME, SparseVector.of(one), top_k) for one in QUERIES]
    some = parse({"id": {"$in": list(CONTENT)[:40]}})
    return [*plain, SparseQuery(NAME, SparseVector.of(QUERIES[0]), 9, filter=some, threshold=0.1)]


async def _found(index: Index, queries: list[SparseQuery]) -> list[list[Hit]]:
    found = await index.remote.search_sparse(queries, complete=True, deadline=NEVER)
    assert found.missing == []
    return [list(hits) for hits in found.hits]


@pytest.mark.parametrize("shards", [2, 4])
async def test_hits_are_equal_to_the_bit_in_any_number_of_shards(
    single: Index, shards: int
) -> None:
    index = Index(shards)
    for one in (single, index):
        await one.remote.upsert(NAME, points_of(CONTENT), NEVER)
    expected = await _found(single, _queries())

    assert await _found(index, _queries()) == expected
    everything = await _found(index, _queries(1000))
    for query, hits in zip(QUERIES, everything, strict=False):
        assert [(hit.id, hit.score) for hit in hits] == best(CONTENT, query)
    await index.close()


async def test_a_lost_shard_is_named_and_its_points_are_missing(several: Index) -> None:
    await several.remote.upsert(NAME, points_of(CONTENT), NEVER)
    everything = {hit.id for hit in (await _found(several, _queries(1000)))[1]}
    several.handles[1].fault = StageUnavailable("VectorIndex-1", "gone")
    queries = _queries(1000)
    found = await several.remote.search_sparse(queries, complete=False, deadline=NEVER)

    assert found.missing == ["VectorIndex-1"]
    assert {hit.id for hit in found.hits[1]} < everything
    with pytest.raises(StageUnavailable):
        await several.remote.search_sparse(queries, complete=True, deadline=NEVER)


@pytest.mark.parametrize("shards", [1, 3])
async def test_points_without_weights_are_refused_unless_one_of_any_shard_has_some(
    shards: int,
) -> None:
    index, plain = Index(shards), points_of(dict.fromkeys(f"p{at}" for at in range(9)))
    await index.remote.upsert(NAME, plain, NEVER)
    query = SparseQuery(NAME, SparseVector.of({1: 1.0}), 3, field="queries[2].text")
    with pytest.raises(InvalidInput, match=f"no point of collection '{NAME}' has sparse") as caught:
        await index.remote.search_sparse([query], complete=False, deadline=NEVER)
    assert caught.value.field == "queries[2].hybrid.weights.sparse"
    await index.remote.upsert(NAME, points_of({"one": {2: 1.0}}), NEVER)

    assert await _found(index, [query]) == [[]]
    await index.remote.delete_points(NAME, ["one", *plain.ids], NEVER)
    assert await _found(index, [query]) == [[]], "an empty collection has no hits"
    await index.close()


async def test_what_no_shard_can_answer_is_refused(several: Index) -> None:
    for name, top_k, error in [("gone", 1, UnknownCollection), (NAME, 0, InvalidInput)]:
        query = SparseQuery(name, SparseVector.of({1: 1.0}), top_k)
        with pytest.raises(error):
            await several.remote.search_sparse([query], complete=False, deadline=NEVER)
