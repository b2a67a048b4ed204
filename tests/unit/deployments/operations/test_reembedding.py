"""A collection is embedded again with another model, and no write is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deployments.operations import collections as index_operation
from deployments.operations.collections import CollectionOperations
from deployments.operations.point_lines import PointLine
from embedder.core.deadline import NEVER
from embedder.core.errors import InvalidInput, Unavailable, UnknownCollection
from embedder.core.storage_errors import ModelMismatch, StaleCollection
from embedder.index.contract.sparse import SparseVector
from embedder.index.contract.sparse_queries import SparseQuery
from embedder.index.storage.sqlite import snapshot
from tests.unit.deployments.index_service import LETTERS, IndexService, search
from tests.unit.deployments.two_model_service import (
    DIGITS,
    NAME,
    TEXTS,
    check,
    fake_ingress_of,
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
    progress: list[int] = []
    operation = CollectionOperations(service.as_running())
    assert (await search(operation, NAME, "aaa", 1))[0]["id"] == "p2"
    order = [one.id for one in await records_of(index_of(service))]
    info = await reembedding_of(service).reembed(NAME, "digits", progress.append)

    assert (info.stored, info.count, info.width) == (DIGITS, len(TEXTS), 3)
    assert (sum(progress), sorted(fake_ingress_of(service).texts)) == (
        len(TEXTS),
        sorted(TEXTS.values()),
    )
    assert [one.id for one in await records_of(index_of(service))] == order
    await check(index_of(service), TEXTS, new=True)
    assert (await search(operation, NAME, "aaaa", 1))[0]["id"] == "p3"
    again = await reembedding_of(service).reembed(NAME, "digits", progress.append)
    assert again.identity == info.identity
    assert sum(progress) == len(TEXTS)


async def test_vectors_from_before_an_interruption_are_kept(
    service: IndexService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "PAGE_POINTS", 2)
    fake_ingress, calls = fake_ingress_of(service), 0

    async def interrupt() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise asyncio.CancelledError

    fake_ingress.meanwhile = interrupt
    with pytest.raises(asyncio.CancelledError):
        await reembedding_of(service).reembed(NAME, "digits", ignore)
    await check(index_of(service), TEXTS, new=False)
    await reembedding_of(service).reembed(NAME, "digits", ignore)

    assert len(fake_ingress.texts) <= len(TEXTS) + 2, "the page that was interrupted is done again"
    await check(index_of(service), TEXTS, new=True)


async def test_concurrent_writes_are_not_lost(
    service: IndexService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "PAGE_POINTS", 2)
    index, expected, steps = index_of(service), dict(TEXTS), iter(range(4))

    async def write() -> None:
        for step in steps:
            changed = {f"p{step}": "b" * step, f"p{11 - step}": "c", f"new {step}": "d"}
            expected.update(changed)
            expected.pop(f"p{step + 4}")
            await index.upsert(NAME, points_of(changed), NEVER)
            await index.delete_points(NAME, [f"p{step + 4}"], NEVER)
            break

    fake_ingress_of(service).meanwhile = write
    await reembedding_of(service).reembed(NAME, "digits", ignore)

    assert len(expected) == 12
    await check(index_of(service), expected, new=True)


async def test_points_without_a_text_are_refused_or_dropped(
    service: IndexService,
) -> None:
    bare = {"v1": "x", "v2": "y"}
    await index_of(service).upsert(NAME, replace(points_of(bare), texts=[None, None]), NEVER)
    with pytest.raises(InvalidInput, match=r"has 2 points .* --drop-without-text"):
        await reembedding_of(service).reembed(NAME, "digits", ignore)
    assert fake_ingress_of(service).texts == []
    await reembedding_of(service).reembed(NAME, "digits", ignore, dropping=True)
    await check(index_of(service), TEXTS, new=True)


async def test_the_error_of_a_refused_text_names_its_point(service: IndexService) -> None:
    await index_of(service).upsert(NAME, points_of({"x": "bad"}), NEVER)
    with pytest.raises(InvalidInput, match="text of point 'x'' has too many tokens"):
        await reembedding_of(service).reembed(NAME, "digits", ignore)
    await index_of(service).delete_points(NAME, ["x"], NEVER)
    await reembedding_of(service).reembed(NAME, "digits", ignore)
    await check(index_of(service), TEXTS, new=True)


async def test_another_model_is_refused_until_the_first_is_completed_or_abandoned(
    service: IndexService,
) -> None:
    fake_ingress = fake_ingress_of(service)

    async def fail() -> None:
        raise InvalidInput("input", "fails")

    fake_ingress.meanwhile = fail
    with pytest.raises(InvalidInput):
        await reembedding_of(service).reembed(NAME, "digits", ignore)
    fake_ingress.digits, fake_ingress.meanwhile = replace(DIGITS, revision="3"), None
    with pytest.raises(
        InvalidInput, match=r"unfinished run embeds this collection with 'digits' \(revision 2"
    ):
        await reembedding_of(service).reembed(NAME, "digits", ignore)
    await reembedding_of(service).abandon(NAME)
    with pytest.raises(InvalidInput, match="is not being embedded again"):
        await reembedding_of(service).abandon(NAME)
    await check(index_of(service), TEXTS, new=False)
    info = await reembedding_of(service).reembed(NAME, "digits", ignore)
    assert info.stored == fake_ingress.digits


async def test_vectors_of_a_model_swapped_in_the_meantime_are_refused(
    service: IndexService,
) -> None:
    fake_ingress = fake_ingress_of(service)

    async def swap() -> None:
        fake_ingress.digits = replace(DIGITS, revision="3")

    fake_ingress.meanwhile = swap
    with pytest.raises(ModelMismatch):
        await reembedding_of(service).reembed(NAME, "digits", ignore)
    await check(index_of(service), TEXTS, new=False)


async def test_a_collection_deleted_in_the_meantime_stays_deleted(service: IndexService) -> None:
    index = index_of(service)
    fake_ingress_of(service).meanwhile = lambda: index.delete(NAME, NEVER)
    with pytest.raises((StaleCollection, UnknownCollection)):
        await reembedding_of(service).reembed(NAME, "digits", ignore)
    assert await index.collections(NEVER) == []


async def test_an_overloaded_service_is_retried(
    service: IndexService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_operation, "PAUSE_S", 0.001)
    steps = iter(range(3))

    async def refuse() -> None:
        for _ in steps:
            raise Unavailable("full")

    fake_ingress_of(service).meanwhile = refuse
    await reembedding_of(service).reembed(NAME, "digits", ignore)
    await check(index_of(service), TEXTS, new=True)
    assert LETTERS not in {info.model for info in await index_of(service).collections(NEVER)}


async def _weighted(service: IndexService, text: str) -> dict[str, float]:
    """Return the scores of all points by the weights that a text has, which are counts of letters.

    Other shards than the first know the collection after a look-up.
    """
    weights = SparseVector.of(Counter(map(ord, text)))
    index = index_of(service)
    info = await index.describe(NAME, NEVER)
    query = SparseQuery(NAME, weights, 100, identity=info.identity)
    found = await index.search_sparse([query], complete=True, deadline=NEVER)
    return {hit.id: hit.score for hit in found.hits[0]}


async def test_weights_come_with_added_texts_and_with_a_new_model(service: IndexService) -> None:
    ingress = fake_ingress_of(service)
    operation = CollectionOperations(service.as_running())
    with pytest.raises(InvalidInput, match="no point of collection 'things' has sparse weights"):
        await _weighted(service, "a")
    await reembedding_of(service).reembed(NAME, "digits", ignore)
    ingress.computes_weights, ingress.digits = True, replace(DIGITS, revision="3")
    await reembedding_of(service).reembed(NAME, "digits", ignore)
    expected = {name: float(text.count("a")) for name, text in TEXTS.items()}
    assert await _weighted(service, "a") == expected
    lines = [
        PointLine(1, "new", "aab", None, {}),
        PointLine(2, "p0", None, np.ones(3, np.float32), {}),
    ]
    await operation.add(NAME, lines, ignore)

    del expected["p0"]
    assert await _weighted(service, "a") == {**expected, "new": 2.0}
    assert await _weighted(service, "b") == {"new": 1.0}
