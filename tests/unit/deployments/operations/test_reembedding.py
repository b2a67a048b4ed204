"""A collection of a running service changes its model, and nothing that is written is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.operations import collections as index_operation
from deployments.operations.collections import CollectionOperations
from embedder.core.errors import InvalidInput, Unavailable, UnknownCollection
from embedder.core.storage_errors import ModelMismatch, StaleCollection
from embedder.index.storage import staging
from tests.unit.deployments.index_service import LETTERS, IndexService
from tests.unit.deployments.two_models import (
    DIGITS,
    NAME,
    TEXTS,
    check,
    door_of,
    filled_service,
    ignore,
    index_of,
    points_of,
    records_of,
    reembedding_of,
)


@pytest.fixture(params=[1, 2])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[IndexService]:
    """Yield a service of one shard, and one of two."""
    made = filled_service(tmp_path / "data", request.param)
    yield made
    made.close()


async def test_all_texts_are_embedded_with_the_new_model_and_searches_follow(
    service: IndexService,
) -> None:
    told: list[int] = []
    operation = CollectionOperations(service.as_running())
    assert (await operation.search(NAME, "aaa", 1))[0].id == "p2"
    order = [one.id for one in await records_of(index_of(service))]
    info = await reembedding_of(service).reembed(NAME, "digits", told.append)

    assert (info.stored, info.count, info.width) == (DIGITS, len(TEXTS), 3)
    assert (sum(told), sorted(door_of(service).texts)) == (len(TEXTS), sorted(TEXTS.values()))
    assert [one.id for one in await records_of(index_of(service))] == order
    await check(index_of(service), TEXTS, new=True)
    assert (await operation.search(NAME, "aaaa", 1))[0].id == "p3"
    again = await reembedding_of(service).reembed(NAME, "digits", told.append)
    assert again.identity == info.identity
    assert sum(told) == len(TEXTS)


async def test_what_was_embedded_before_an_interruption_is_kept(
    service: IndexService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "PAGE_POINTS", 2)
    door, calls = door_of(service), 0

    async def interrupt() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise asyncio.CancelledError

    door.meanwhile = interrupt
    with pytest.raises(asyncio.CancelledError):
        await reembedding_of(service).reembed(NAME, "digits", ignore)
    await check(index_of(service), TEXTS, new=False)
    await reembedding_of(service).reembed(NAME, "digits", ignore)

    assert len(door.texts) <= len(TEXTS) + 2, "the page that was interrupted is done again"
    await check(index_of(service), TEXTS, new=True)


async def test_what_is_written_meanwhile_is_not_lost(
    service: IndexService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "PAGE_POINTS", 2)
    index, expected, turns = index_of(service), dict(TEXTS), iter(range(4))

    async def write() -> None:
        for turn in turns:
            changed = {f"p{turn}": "b" * turn, f"p{11 - turn}": "c", f"new {turn}": "d"}
            expected.update(changed)
            expected.pop(f"p{turn + 4}")
            await index.upsert(NAME, points_of(changed), None)
            await index.delete_points(NAME, [f"p{turn + 4}"], None)
            break

    door_of(service).meanwhile = write
    await reembedding_of(service).reembed(NAME, "digits", ignore)

    assert len(expected) == 12
    await check(index_of(service), expected, new=True)


async def test_points_without_a_text_are_counted_and_refused_or_left_out(
    service: IndexService,
) -> None:
    bare = {"v1": "x", "v2": "y"}
    await index_of(service).upsert(NAME, replace(points_of(bare), texts=[None, None]), None)
    with pytest.raises(InvalidInput, match=r"has 2 points .* --drop-without-text"):
        await reembedding_of(service).reembed(NAME, "digits", ignore)
    assert door_of(service).texts == []
    await reembedding_of(service).reembed(NAME, "digits", ignore, dropping=True)
    await check(index_of(service), TEXTS, new=True)


async def test_a_text_that_the_model_refuses_is_named_by_its_point(service: IndexService) -> None:
    await index_of(service).upsert(NAME, points_of({"x": "bad"}), None)
    with pytest.raises(InvalidInput, match="text of point 'x'' has too many tokens"):
        await reembedding_of(service).reembed(NAME, "digits", ignore)
    await index_of(service).delete_points(NAME, ["x"], None)
    await reembedding_of(service).reembed(NAME, "digits", ignore)
    await check(index_of(service), TEXTS, new=True)


async def test_one_model_is_completed_or_given_up_before_another(service: IndexService) -> None:
    door = door_of(service)

    async def fail() -> None:
        raise InvalidInput("input", "fails")

    door.meanwhile = fail
    with pytest.raises(InvalidInput):
        await reembedding_of(service).reembed(NAME, "digits", ignore)
    door.digits, door.meanwhile = replace(DIGITS, revision="3"), None
    with pytest.raises(InvalidInput, match=r"begun to be embedded with 'digits' \(revision 2"):
        await reembedding_of(service).reembed(NAME, "digits", ignore)
    await reembedding_of(service).abandon(NAME)
    with pytest.raises(InvalidInput, match="is not being embedded again"):
        await reembedding_of(service).abandon(NAME)
    await check(index_of(service), TEXTS, new=False)
    info = await reembedding_of(service).reembed(NAME, "digits", ignore)
    assert info.stored == door.digits


async def test_a_model_that_is_swapped_meanwhile_is_not_mixed(service: IndexService) -> None:
    door = door_of(service)

    async def swap() -> None:
        door.digits = replace(DIGITS, revision="3")

    door.meanwhile = swap
    with pytest.raises(ModelMismatch):
        await reembedding_of(service).reembed(NAME, "digits", ignore)
    await check(index_of(service), TEXTS, new=False)


async def test_a_collection_that_is_deleted_meanwhile_stays_deleted(service: IndexService) -> None:
    index = index_of(service)
    door_of(service).meanwhile = lambda: index.delete(NAME, None)
    with pytest.raises((StaleCollection, UnknownCollection)):
        await reembedding_of(service).reembed(NAME, "digits", ignore)
    assert await index.collections(None) == []


async def test_a_full_service_is_asked_again(
    service: IndexService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_operation, "PAUSE_S", 0.001)
    turns = iter(range(3))

    async def refuse() -> None:
        for _ in turns:
            raise Unavailable("full")

    door_of(service).meanwhile = refuse
    await reembedding_of(service).reembed(NAME, "digits", ignore)
    await check(index_of(service), TEXTS, new=True)
    assert LETTERS not in {info.model for info in await index_of(service).collections(None)}
