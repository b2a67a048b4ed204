"""Responses about collections stay within ``max_response_bytes``, or are refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.unit.deployments.ingress.fake_service import FakeService, message, refusal

COUNT = 40
LIMIT = 20_000
POINTS = [
    {"id": f"p{number}", "vector": [number, 1, 0], "text": "t" * 1000, "metadata": {"n": number}}
    for number in range(COUNT)
]


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a service with points of 1,000 characters, and answers of 20,000 bytes."""
    async with FakeService(max_response_bytes=LIMIT).client() as client:
        await client.post("/v1/collections/c/points", json={"points": POINTS})
        yield client


async def test_pages_are_shorter_and_every_point_comes_once(http: httpx.AsyncClient) -> None:
    seen: list[str] = []
    body: dict[str, Any] = {"limit": 1000, "include": ["text"]}
    while True:
        page = await http.post("/v1/collections/c/points/scroll", json=body)
        assert len(page.content) <= LIMIT
        seen += [point["id"] for point in page.json()["points"]]
        body["cursor"] = page.json()["cursor"]
        if body["cursor"] is None:
            break

    assert seen == [point["id"] for point in POINTS]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("points/fetch", {"ids": [f"p{n}" for n in range(COUNT)], "include": ["text"]}, "ids"),
        ("search", {"vector": [1, 2, 3], "top_k": 30, "include": ["text"]}, "top_k"),
        (
            "search",
            {"queries": [{"vector": [1, 2, 3], "top_k": n, "include": ["text"]} for n in (3, 10)]},
            "queries[1].top_k",
        ),
        (
            "search",
            {"queries": [*[{"id": "p1", "top_k": 1}] * 9, {"id": "p1", "top_k": 30}]},
            "queries[9].top_k",
        ),
    ],
)
async def test_a_response_that_is_too_large_is_refused_by_the_field_that_determines_its_size(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await http.post(f"/v1/collections/c/{path}", json=body)

    assert refusal(answer) == (400, "limit_exceeded", field)
    assert "max_response_bytes" in message(answer)


async def test_a_search_that_is_too_large_fails_alone(http: httpx.AsyncClient) -> None:
    def search(number: int) -> Any:
        query = {"vector": [1, 2, 3], "include": ["text"], "top_k": 30 if number % 4 == 0 else 10}
        return http.post("/v1/collections/c/search", json=query)

    answers = await asyncio.gather(*(search(number) for number in range(64)))

    assert [answer.status_code for answer in answers] == [400, 200, 200, 200] * 16


async def test_a_response_within_the_limit_is_sent(http: httpx.AsyncClient) -> None:
    for path, body in (
        ("points/fetch", {"ids": [f"p{number}" for number in range(18)], "include": ["text"]}),
        ("points/fetch", {"ids": [point["id"] for point in POINTS], "include": ["metadata"]}),
        ("search", {"vector": [1, 2, 3], "top_k": 18, "include": ["text"]}),
        ("search", {"vector": [1, 2, 3], "top_k": 1000, "include": ["vector", "metadata"]}),
        ("search", {"queries": [{"id": "p1", "top_k": 9, "include": ["text"]}] * 2}),
    ):
        answer = await http.post(f"/v1/collections/c/{path}", json=body)

        assert answer.status_code == 200, answer.text
        assert len(answer.content) <= LIMIT


async def test_ids_that_take_more_than_was_expected_are_counted_too(
    http: httpx.AsyncClient,
) -> None:
    ids = [f"{number:02}" + "\x01" * 200 for number in range(20)]
    points = [{"id": one, "vector": [1, 2, 3]} for one in ids]
    await http.post("/v1/collections/escaped/points", json={"points": points})
    fetched = await http.post("/v1/collections/escaped/points/fetch", json={"ids": ids})
    found = await http.post("/v1/collections/escaped/search", json={"id": ids[0], "top_k": 20})

    assert refusal(fetched) == (400, "limit_exceeded", "ids")
    assert refusal(found) == (400, "limit_exceeded", "top_k")
