"""A chunked response has the same bytes as a whole one, and other requests run meanwhile."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator, MutableMapping
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.wire import json_bodies
from deployments.ingress.wire.json_bodies import CHUNK_BYTES, json_lines, json_response
from deployments.ingress.wire.json_chunks import Divided, json_chunks, line_chunks
from deployments.rpc import cooperative_yield
from tests.unit.deployments.concurrent_request import ConcurrentRequest
from tests.unit.deployments.ingress.fake_service import FakeService
from tests.unit.deployments.ingress.scoring_services import service

ARRAYS = st.tuples(st.integers(0, 3), st.integers(0, 3)).flatmap(
    lambda shape: st.lists(
        st.floats(width=32, allow_nan=False), min_size=shape[0] * shape[1], max_size=9
    ).map(lambda numbers: np.array(numbers[: shape[0] * shape[1]], np.float32).reshape(shape))
)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text() | ARRAYS
VALUES = st.recursive(
    LEAVES, lambda items: st.lists(items) | st.dictionaries(st.text(), items), max_leaves=30
)
VECTOR = [1.0, 0.5, 0.25, 0.125]
POINTS = [
    {"id": f"p{row}", "vector": VECTOR, "text": "a" * 50, "metadata": {"row": row}}
    for row in range(200)
]
IDS = [point["id"] for point in POINTS]
PARTS = ["text", "metadata", "vector"]


def _lazy(value: Any) -> Any:
    """Return a value whose nested lists are iterators."""
    if isinstance(value, dict):
        return {name: _lazy(member) for name, member in value.items()}
    return _lazy_list(value)


def _lazy_list(value: Any) -> Any:
    return map(_lazy_list, value) if isinstance(value, list) else value


@given(st.lists(st.dictionaries(st.text(), VALUES), max_size=3), st.integers(1, 200))
def test_lines_have_an_object_each_in_chunks_of_any_size(
    objects: list[dict[str, Any]], size: int
) -> None:
    chunks = list(line_chunks(objects, size))

    assert b"".join(chunks) == json_lines(objects)
    assert all(len(chunk) >= size for chunk in chunks[:-1])


def test_large_members_of_a_divided_item_are_chunks_of_their_own() -> None:
    vectors = np.ones((3, 2), np.float32)
    chunks = list(json_chunks([Divided(vectors=vectors), {"vectors": vectors}]))

    parts = [chunk for chunk in chunks if b"1.0" in chunk]
    assert [part.count(b"1.0") for part in parts] == [2, 2, 2, 6]
    assert orjson.loads(b"".join(chunks)) == [{"vectors": [[1, 1]] * 3}] * 2


@given(VALUES)
def test_chunks_are_the_whole_value(value: Any) -> None:
    whole = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)

    assert b"".join(json_chunks(value)) == whole
    assert b"".join(json_chunks(_lazy(value))) == whole


@given(VALUES)
async def test_a_small_response_is_written_in_one_step_with_the_same_bytes(value: Any) -> None:
    in_chunks = await json_response(_lazy(value))
    at_once = await json_response(_lazy(value), expected_bytes=0)

    assert at_once.body == in_chunks.body


@pytest.mark.parametrize("bytes_of_item", [10, CHUNK_BYTES // 2, CHUNK_BYTES * 2])
async def test_a_large_response_is_sent_in_chunks(bytes_of_item: int) -> None:
    value = ["x" * bytes_of_item] * max(3, 3 * CHUNK_BYTES // bytes_of_item)
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await (await json_response(value))({"type": "http"}, _never, send)
    start, *bodies = sent
    whole = b"".join(message["body"] for message in bodies)

    assert whole == orjson.dumps(value)
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(whole)
    assert [message["more_body"] for message in bodies] == [True] * (len(bodies) - 1) + [False]
    assert max(len(message["body"]) for message in bodies) < CHUNK_BYTES + bytes_of_item + 10


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": ["a", "b"] * 500}),
        ("/embed", {"inputs": ["a", "b"] * 500}),
        ("/rerank", {"query": "a", "texts": ["a", "b"] * 500, "method": "bi-encoder"}),
        ("/rerank", {"query": "a", "texts": ["a", "b"] * 500, "model": "cross"}),
        ("/predict", {"inputs": [["a"], ["b"]] * 200, "model": "classes"}),
        ("/v1/rerank", {"query": "a", "documents": ["a", "b"] * 200, "model": "cross"}),
        ("/v2/rerank", {"query": "a", "documents": ["a", "b"] * 500, "model": "cross"}),
        ("/tokenize", {"inputs": ["abcdefgh"] * 100}),
        ("/v1/similarity", {"a": [[1, 2]] * 100}),
        ("/v1/similarity", {"a": [[1, 2]] * 100, "top_k": 50}),
        (
            "/v1/cluster",
            {"inputs": [[n, 1] for n in range(900)], "k": 900, "include": ["centroids"]},
        ),
        ("/v1/collections/c/search", {"vector": VECTOR, "top_k": 200, "include": PARTS}),
        ("/v1/collections/c/search", {"queries": [{"vector": VECTOR, "top_k": 200}] * 9}),
        ("/v1/collections/c/points/scroll", {"limit": 200, "include": PARTS}),
        ("/v1/collections/c/points/fetch", {"ids": IDS, "include": PARTS}),
    ],
)
async def test_other_requests_run_while_a_response_is_written(
    monkeypatch: pytest.MonkeyPatch, path: str, body: Any
) -> None:
    other, largest = ConcurrentRequest(), [0]

    def seen(value: Any) -> Iterator[bytes]:
        for piece in json_chunks(value):
            other.record_work(len(piece))
            largest[0] = max(largest[0], len(piece))
            yield piece

    monkeypatch.setattr(cooperative_yield, "YIELD_BYTES", 500)
    async with service(compress_bytes=None).client() as http:
        await http.post("/v1/collections/c/points", json={"points": POINTS})
        monkeypatch.setattr(json_bodies, "json_chunks", seen)
        async with other.running():
            response = await http.post(path, json=body)

    assert response.status_code == 200
    assert other.total == int(response.headers["content-length"]) > 10_000
    assert other.max_bytes <= 500 + largest[0] < 10_000


async def test_a_chunked_response_is_compressed_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_bodies, "CHUNK_BYTES", 1000)
    body = {"a": np.eye(100).tolist()}
    async with FakeService(compress_bytes=1000).client() as http:
        answers = [await _raw(http, body, encoding) for encoding in ("gzip", "identity")]
    (packed, headers), (plain, _) = answers

    assert gzip.decompress(packed) == plain
    assert headers["content-length"] == str(len(packed))
    assert len(packed) < len(plain) // 10


async def _raw(http: httpx.AsyncClient, body: Any, encoding: str) -> tuple[bytes, httpx.Headers]:
    headers = {"accept-encoding": encoding}
    async with http.stream("POST", "/v1/similarity", json=body, headers=headers) as response:
        return b"".join([part async for part in response.aiter_raw()]), response.headers


async def _never() -> MutableMapping[str, Any]:
    return await asyncio.Future()
