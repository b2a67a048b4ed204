"""A text has the same score in one shard and in several, and a lost shard is named."""

from __future__ import annotations

import random

import numpy as np
import pytest

from embedder.core.deadline import NEVER
from embedder.core.errors import InvalidInput, StageUnavailable, UnknownCollection
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Hit, Points
from embedder.index.contract.texts import TextQuery
from tests.unit.deployments.index.shards import NAME, Index
from tests.unit.index.texts.text_oracle import best

WORDS = ["wing", "flow", "heat", "plate", "shock", "layer"]
QUERIES = ["wing", "flow heat the", "plate plate shock", "absent"]


def _texts() -> dict[str, str | None]:
    chosen = random.Random(5)
    return {f"p{at}": " ".join(chosen.choices(WORDS, k=chosen.randrange(7))) for at in range(90)}


def _points() -> Points:
    texts = _texts()
    metadata = [{"n": at} for at in range(len(texts))]
    vectors = np.ones((len(texts), 2), np.float32)
    return Points(list(texts), vectors, list(texts.values()), metadata)


def _queries(top_k: int = 20) -> list[TextQuery]:
    plain = [TextQuery(NAME, one, top_k) for one in QUERIES]
    return [*plain, TextQuery(NAME, "wing", 9, filter=parse({"n": {"$lt": 40}}), threshold=0.3)]


async def _found(index: Index, queries: list[TextQuery]) -> list[list[Hit]]:
    found = await index.remote.search_text(queries, complete=True, deadline=NEVER)
    assert found.missing == []
    return [list(hits) for hits in found.hits]


@pytest.mark.parametrize("shards", [2, 4])
async def test_hits_are_equal_to_the_bit_in_any_number_of_shards(
    single: Index, shards: int
) -> None:
    index = Index(shards)
    for one in (single, index):
        await one.remote.upsert(NAME, _points(), NEVER)
    expected = await _found(single, _queries())

    assert await _found(index, _queries()) == expected
    assert [len(hits) for hits in expected] == [20, 20, 20, 0, 9]
    everything = await _found(index, _queries(1000))
    assert [hit.id for hit in everything[1]] == [one for one, _ in best(_texts(), QUERIES[1])]
    await index.close()


async def test_a_lost_shard_is_named_and_its_texts_are_missing(several: Index) -> None:
    await several.remote.upsert(NAME, _points(), NEVER)
    everything = {hit.id for hit in (await _found(several, _queries(1000)))[0]}
    several.handles[1].fault = StageUnavailable("VectorIndex-1", "gone")
    queries = _queries(1000)
    found = await several.remote.search_text(queries, complete=False, deadline=NEVER)

    assert found.missing == ["VectorIndex-1"]
    assert {hit.id for hit in found.hits[0]} < everything
    with pytest.raises(StageUnavailable):
        await several.remote.search_text(queries, complete=True, deadline=NEVER)


async def test_what_no_shard_can_answer_is_refused(several: Index) -> None:
    for query, error in [
        (TextQuery("gone", "wing", 1), UnknownCollection),
        (TextQuery(NAME, "wing", 0), InvalidInput),
    ]:
        with pytest.raises(error):
            await several.remote.search_text([query], complete=False, deadline=NEVER)
