"""Ids of any Unicode are found in their shards, or refused before any call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from embedder.core.deadline import NEVER
from embedder.core.errors import InvalidInput
from tests.unit.deployments.index.shards import NAME, Index, make_points, make_query
from tests.unit.index.hostile_strings import HOSTILE_IDS


@pytest.fixture
async def several() -> AsyncIterator[Index]:
    """Yield an index of three shards."""
    index = Index(3)
    yield index
    await index.close()


async def test_ids_of_any_unicode_are_found_in_their_shards(several: Index) -> None:
    many = make_points(len(HOSTILE_IDS))
    await several.remote.upsert(NAME, replace(many, ids=HOSTILE_IDS), NEVER)
    records = await several.remote.fetch(NAME, HOSTILE_IDS, (), NEVER)
    seen, cursor = [], None
    while True:
        page = await several.remote.scroll(NAME, cursor, 7, None, (), deadline=NEVER)
        seen += [record.id for record in page.records]
        if (cursor := page.cursor) is None:
            break
    by_id = [make_query(vector=None, id=name, top_k=1, include=()) for name in HOSTILE_IDS]

    assert [record.id for record in records] == HOSTILE_IDS
    assert sorted(seen) == sorted(HOSTILE_IDS)
    assert all(len(hits) == 1 for hits in await several.found(*by_id))
    assert (await several.remote.delete_points(NAME, [*HOSTILE_IDS, "a\0c"], NEVER)).count == len(
        HOSTILE_IDS
    )


@pytest.mark.parametrize("bad", ["", "\ud800", "a" * 256])
async def test_the_error_of_an_invalid_id_names_its_index_in_the_request(
    several: Index, bad: str
) -> None:
    await several.remote.upsert(NAME, make_points(9), NEVER)
    by_bad_id = make_query(vector=None, id=bad, field="queries[1].vector")
    names = [*(f"point {number}" for number in range(9)), bad]

    for refused, field in (
        (several.remote.fetch(NAME, names, (), NEVER), "ids[9]"),
        (several.remote.delete_points(NAME, names, NEVER), "ids[9]"),
        (several.found(make_query(), by_bad_id), "queries[1].id"),
    ):
        with pytest.raises(InvalidInput) as caught:
            await refused
        assert caught.value.field == field
    assert await several.remote.count(NAME, None, NEVER) == 9


@pytest.mark.parametrize(
    "cursor", ["9" * 5000, "9" * 5000 + ".", "-1.", "3.", "00.", "0.1", ".", ""]
)
async def test_a_forged_cursor_is_refused(several: Index, cursor: str) -> None:
    await several.remote.upsert(NAME, make_points(9), NEVER)
    with pytest.raises(InvalidInput, match="is not one that a page came with"):
        await several.remote.scroll(NAME, cursor, 1, None, (), deadline=NEVER)
