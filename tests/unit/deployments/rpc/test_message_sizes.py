"""Whatever the width and the size, every request within the limits is answered over gRPC's 4 MiB.

The handles here refuse what gRPC refuses, and the stages behind them are the real ones, but for
the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import pytest

from deployments.cache.client import RemoteCache
from deployments.cache.replica import CacheReplica
from deployments.encoder.client import RemoteEncoder
from deployments.index.replica import IndexReplica
from deployments.index.sharded_client import RemoteIndex
from deployments.rpc import message_size
from deployments.rpc.handle_client import RETRIES, HandleClient
from deployments.settings.service import ServeSettings
from deployments.settings.stages import StageSettings
from embedder.cache.fail_open import FailOpenCache
from embedder.cache.store.circuit_breaker import CircuitState
from embedder.core.errors import StageUnavailable
from embedder.core.types import Encoded, Entries, Priority, TokenBatch
from embedder.index.contract.points import PointField, Points, Query
from embedder.settings.model import BatchSettings, ModelSettings
from tests.unit.deployments.ingress.fake_service import FakeService, LocalHandle, as_handle
from tests.unit.deployments.rpc.transport import GRPC_BYTES, too_large

ALL: tuple[PointField, ...] = ("text", "metadata", "vector")
SETTINGS = ServeSettings.model_validate(
    {"data_directory": None, "cache": {"max_bytes": 128 * 2**20, "shards": 1}}
)
widths = pytest.mark.parametrize("width", [384, 768, 1024, 4096])


class Counter:
    """Counts its calls, and answers with as many bytes as it is asked for."""

    def __init__(self) -> None:
        self.calls = 0

    async def bytes(self, count: int, given: bytes = b"") -> bytes:
        self.calls += 1
        return bytes(count)


class WideEncoder:
    """Answers the first token of each input in every component."""

    def __init__(self, width: int) -> None:
        self.width = width

    async def encode(
        self, model: ModelSettings, tokens: TokenBatch, priority: Priority, timeout_s: float | None
    ) -> Encoded:
        firsts = np.array([row[0] for row in tokens.rows()], np.float32)
        return Encoded(np.tile(firsts[:, None], self.width), 0.0, 0.0)


async def test_a_request_above_the_limit_arrives_and_is_computed_once() -> None:
    stage = Counter()
    handle = LocalHandle(stage)

    assert (
        await HandleClient("Encoder", as_handle(handle)).call("bytes", 1, bytes(GRPC_BYTES))
        == b"\0"
    )
    assert (stage.calls, handle.by_reference) == (1, ["bytes"])


async def test_an_answer_above_the_limit_arrives_also_where_nobody_expected_it() -> None:
    handle = LocalHandle(Counter())
    answer = await HandleClient("Encoder", as_handle(handle)).call("bytes", GRPC_BYTES)

    assert len(answer) == GRPC_BYTES
    assert handle.by_reference == ["bytes"]


async def test_what_is_expected_to_be_large_is_computed_once_and_never_refused() -> None:
    stage = Counter()
    remote = HandleClient("Encoder", as_handle(stage))

    assert len(await remote.call("bytes", GRPC_BYTES, size=GRPC_BYTES)) == GRPC_BYTES
    assert stage.calls == 1


async def test_small_calls_do_not_take_the_way_through_the_object_store() -> None:
    handle = LocalHandle(Counter())
    await HandleClient("Encoder", as_handle(handle)).call("bytes", 1, size=message_size.LARGE_BYTES)

    assert handle.by_reference == []


async def test_what_is_refused_by_reference_too_is_not_tried_for_ever() -> None:
    class Refusing:
        def __init__(self) -> None:
            self.calls = 0

        async def ask(self) -> None:
            self.calls += 1
            raise too_large(1)

    stage = Refusing()

    with pytest.raises(StageUnavailable):
        await HandleClient("Encoder", as_handle(stage)).call("ask")
    assert stage.calls <= 2 + RETRIES


@widths
async def test_an_encoder_answers_2048_short_inputs_of_any_width(width: int) -> None:
    handle = LocalHandle(WideEncoder(width))
    stage = StageSettings(max_replicas=1)
    remote = RemoteEncoder(
        as_handle(handle),
        stage,
        ModelSettings(),
        BatchSettings(),
        max_batch_tokens=32_768,
        width=width,
    )
    tokens = TokenBatch.of([[number] for number in range(2048)])
    answer = await remote.encode(tokens, priority=Priority.BULK, deadline=None)

    assert answer.vectors.shape == (2048, width)
    assert answer.vectors[:, -1].tolist() == list(range(2048))


@widths
async def test_a_cache_has_2048_entries_of_any_width_and_its_circuit_stays_closed(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.cache.client.INSERTS_PAUSE_S", 0)
    handle = LocalHandle(CacheReplica(SETTINGS, "EmbeddingCache-0"))
    # Time plays no part here, on however slow a machine.
    cache = FailOpenCache(RemoteCache("EmbeddingCache-0", as_handle(handle)), timeout_s=60)
    keys = [number.to_bytes(32, "big") for number in range(2048)]
    entries = Entries.allocate(len(keys), width)
    entries.vectors[:] = np.arange(len(keys), dtype=np.float32)[:, None]
    cache.put_later(keys, entries)
    await asyncio.gather(*cache._inserts)
    hits = [await cache.get_many(keys, width) for _ in range(2)]

    assert all(np.array_equal(one.entries.vectors, entries.vectors) for one in hits)
    assert (cache.state.failures, cache.state.circuit) == (0, CircuitState.CLOSED)


async def test_entries_of_two_widths_are_put_in_calls_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("deployments.cache.client.INSERTS_PAUSE_S", 0)
    handle = LocalHandle(CacheReplica(SETTINGS, "EmbeddingCache-0"))
    remote = RemoteCache("EmbeddingCache-0", as_handle(handle))
    await asyncio.gather(
        *(
            remote.put_many([bytes([width]) * 32], Entries.allocate(1, width))
            for width in (8, 4, 8, 4)
        )
    )

    assert [len((await remote.get_many([bytes([one]) * 32], one)).rows) for one in (8, 4)] == [1, 1]
    assert len(handle.sizes) == 2 * (2 + 2), "two inserts and two lookups"


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
async def test_an_index_takes_and_gives_a_thousand_points_of_any_width(
    index: tuple[RemoteIndex, LocalHandle], width: int
) -> None:
    remote, _ = index
    points = _points(1000, width, text=200)
    await remote.upsert("wide", points, None)
    page = await remote.scroll("wide", None, 1000, None, ALL, deadline=None)
    records = await remote.fetch("wide", points.ids, ALL, None)
    query = Query("wide", points.vectors[0], 1000, include=ALL)
    by_id = Query("wide", None, 999, id="p0", include=ALL)
    found = await remote.search([query, by_id], complete=False, deadline=None)

    assert len(page.records) == len(records) == len(found.hits[0]) == 1000
    assert len(found.hits[1]) == 999
    assert np.array_equal(np.stack([_vector(one) for one in records]), points.vectors)


async def test_small_searches_do_not_fail_for_large_ones_beside_them(
    index: tuple[RemoteIndex, LocalHandle],
) -> None:
    remote, handle = index
    points = _points(1000, 384, text=500)
    await remote.upsert("many", points, None)

    async def search(number: int) -> list[list[str]]:
        large = number % 8 == 0
        top_k, include = (1000, ALL) if large else (3, ())
        query = Query("many", points.vectors[number], top_k, include=include)
        queries = [query] if large else [query] * 3
        found = await remote.search(queries, complete=False, deadline=None)
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
