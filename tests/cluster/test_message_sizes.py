"""The largest requests within the limits succeed, and small requests beside them too."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import numpy as np
import pytest

from tests.cluster.service import RunningService

ALL = ["text", "metadata", "vector"]


def _points(count: int, width: int, *, text: int = 10, metadata: int = 10) -> list[dict[str, Any]]:
    vectors = np.random.default_rng(0).standard_normal((count, width)).astype("<f4")
    return [
        {
            "id": f"p{number}",
            "vector": base64.b64encode(vector.tobytes()).decode(),
            "text": "t" * text,
            "metadata": {"m": "x" * metadata},
        }
        for number, vector in enumerate(vectors)
    ]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("text", {"count": 1, "width": 4, "text": 4_500_000}),
        ("metadata", {"count": 100, "width": 4, "metadata": 60_000}),
        ("texts", {"count": 500, "width": 4, "text": 9_000}),
        ("wide", {"count": 680, "width": 4096}),
    ],
)
async def test_a_body_below_its_limit_is_stored_searched_and_read(
    service: RunningService, name: str, sizes: dict[str, int]
) -> None:
    points = _points(**sizes)
    collection = f"/v1/collections/large-{name}"
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as http:
        try:
            stored = await http.post(f"{collection}/points", json={"points": points})
            page = await http.post(
                f"{collection}/points/scroll", json={"limit": 1000, "include": ALL}
            )
            query = {"vector": points[0]["vector"], "top_k": 1000, "include": ALL}
            found = await http.post(f"{collection}/search", json=query)
        finally:
            await http.delete(collection)

    assert [stored.status_code, page.status_code, found.status_code] == [200] * 3, stored.text[:500]
    assert len(page.json()["points"]) == len(found.json()["results"]) == len(points)
    assert found.json()["results"][0]["text"] == points[0]["text"]


async def test_no_request_fails_for_the_size_of_another(service: RunningService) -> None:
    collection = "/v1/collections/mixed"
    points = _points(1000, 768, text=2_000)

    async def ask(http: httpx.AsyncClient, number: int) -> int:
        large = {"top_k": 300, "include": ALL} if number % 8 == 0 else {"top_k": 3}
        query = {"vector": points[number]["vector"], **large}
        answer = await http.post(f"{collection}/search", json=query)
        assert answer.status_code == 200, answer.text[:500]
        assert answer.json()["results"][0]["id"] == f"p{number}"
        return len(answer.json()["results"])

    async with httpx.AsyncClient(base_url=service.url, timeout=60) as http:
        try:
            (await http.post(f"{collection}/points", json={"points": points})).raise_for_status()
            counts = await asyncio.gather(*(ask(http, number) for number in range(48)))
        finally:
            await http.delete(collection)

    assert (counts.count(300), counts.count(3)) == (6, 42)
