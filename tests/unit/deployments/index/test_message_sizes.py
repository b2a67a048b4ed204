"""Points and searches of any size pass between the replicas over gRPC's limit of 4 MiB.

The handles refuse the messages that gRPC refuses; the index behind them is the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest

from deployments.index.replica import IndexReplica
from deployments.index.sharded_client import RemoteIndex
from deployments.rpc import message_size
from deployments.settings.service import ServeSettings
from embedder.core.deadline import NEVER
from embedder.index.contract.points import PointField, Points, Query
from tests.unit.deployments.ingress.fake_service import FakeService
from tests.unit.deployments.local_handle import LocalHandle, as_handle

ALL: tuple[PointField, ...] = ("text", "metadata", "vector")
SETTINGS = ServeSettings(data_directory=None)
widths = pytest.mark.parametrize("width", [384, 768, 1024, 4096])


@pytest.fixture
async def index() -> AsyncIterator[tuple[RemoteIndex, LocalHandle]]:
    """Yield an index of one shard, and its handle."""
    shard = IndexReplica(SETTINGS, "VectorIndex-0")
    handle = LocalHandle(shard)
    yield RemoteIndex({"VectorIndex-0": as_handle(handle)}), handle
    await shard._stop()


def _points(count: int, width: int, *, text: int = 10, metadata: int = 10) -> Points:
    return Points(
        [f"p{number}" for number in range(count)],
        np.random.default_rng(0).standard_normal((count, width)).astype(np.float32),
        ["t" * text] * count,
        [{"m": "x" * metadata}] * count,
    )


@widths
async def test_a_thousand_points_of_any_width_are_stored_and_read(
    index: tuple[RemoteIndex, LocalHandle], width: int
) -> None:
    remote, _ = index
    points = _points(1000, width, text=200)
    await remote.upsert("wide", points, NEVER)
    page = await remote.scroll("wide", None, 1000, None, ALL, deadline=NEVER)
    records = await remote.fetch("wide", points.ids, ALL, NEVER)
    query = Query("wide", points.vectors[0], 1000, include=ALL)
    by_id = Query("wide", None, 999, id="p0", include=ALL)
    found = await remote.search([query, by_id], complete=False, deadline=NEVER)

    assert len(page.records) == len(records) == len(found.hits[0]) == 1000
    assert len(found.hits[1]) == 999
    assert np.array_equal(np.stack([_vector(one) for one in records]), points.vectors)


async def test_small_searches_succeed_beside_large_ones(
    index: tuple[RemoteIndex, LocalHandle],
) -> None:
    remote, handle = index
    points = _points(1000, 384, text=500)
    await remote.upsert("many", points, NEVER)

    async def search(number: int) -> list[list[str]]:
        large = number % 8 == 0
        top_k, include = (1000, ALL) if large else (3, ())
        query = Query("many", points.vectors[number], top_k, include=include)
        queries = [query] if large else [query] * 3
        found = await remote.search(queries, complete=False, deadline=NEVER)
        return [[hit.id for hit in hits] for hits in found.hits]

    handle.sizes.clear()
    answers = await asyncio.gather(*(search(number) for number in range(48)))

    assert [len(hits) for one in answers for hits in one].count(1000) == 6
    assert all(hits[0] == f"p{at}" for at, one in enumerate(answers) for hits in one)
    assert max(handle.sizes) < message_size.GATHERED_BYTES
    assert len(handle.sizes) < 2 * 24, "small ones still travel together"


@pytest.mark.parametrize(
    "sizes",
    [
        {"count": 1, "text": 4_500_000},
        {"count": 100, "metadata": 60_000},
        {"count": 500, "text": 9_000},
        {"count": 2048, "text": 7_000},
    ],
    ids=str,
)
async def test_a_body_below_its_limit_is_stored_and_read_again(sizes: dict[str, int]) -> None:
    service = FakeService()
    points = _points(width=4, **{"text": 10, **sizes})
    body = [
        {"id": one, "vector": vector.tolist(), "text": text, "metadata": metadata}
        for one, vector, text, metadata in zip(
            points.ids, points.vectors, points.texts, points.metadata, strict=True
        )
    ]
    async with service.client() as http:
        stored = await http.post("/v1/collections/c/points", json={"points": body})
        shown = {"limit": 1000, "include": ["text", "metadata"]}
        page = await http.post("/v1/collections/c/points/scroll", json=shown)
        found = await http.post(
            "/v1/collections/c/search", json={"id": "p0", "top_k": 1000, "include": ["metadata"]}
        )

    assert [answer.status_code for answer in (stored, page, found)] == [200] * 3, stored.text[:300]
    assert [point["id"] for point in page.json()["points"]] == points.ids[:1000]
    assert page.json()["points"][-1]["text"] == points.texts[0]
    assert len(found.json()["results"]) == min(1000, len(points.ids) - 1)


async def test_pieces_of_the_longest_texts_are_listed() -> None:
    service = FakeService()
    async with service.client() as http:
        answer = await http.post("/tokenize", json={"inputs": "a" * 120_000})

    assert len(answer.json()[0]) == 120_001
    assert "tokenize_with_offsets" in service.handles["tokenizer"].by_reference


def _vector(one: Any) -> Sequence[float]:
    assert one.vector is not None
    return one.vector  # type: ignore[no-any-return]
