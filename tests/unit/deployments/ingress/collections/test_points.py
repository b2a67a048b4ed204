"""The points of a collection over HTTP: fetched, counted, paged through, deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.unit.deployments.ingress.fake_service import FakeService, message, refusal

POINTS: list[dict[str, Any]] = [
    {"id": "a", "vector": [0, 0], "text": "alpha", "metadata": {"n": 1, "tags": ["x"]}},
    {"id": "b", "vector": [3, 4], "metadata": {"n": 2, "tags": ["x", "y"]}},
    {"id": "c/d", "vector": [6, 8], "metadata": {"n": 3}},
]
PLANE = "/v1/collections/plane"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a service with three points in a plane."""
    async with FakeService(max_points=4).client() as client:
        await client.put(PLANE, json={"metric": "l2"})
        (await client.post(f"{PLANE}/points", json={"points": POINTS})).raise_for_status()
        yield client


async def test_a_point_is_read_as_it_was_written(http: httpx.AsyncClient) -> None:
    plain = await http.get(f"{PLANE}/points/a")
    whole = await http.get(f"{PLANE}/points/c/d?include=vector&include=metadata")

    assert plain.json() == {"id": "a", "text": "alpha", "metadata": {"n": 1, "tags": ["x"]}}
    assert whole.json() == {"id": "c/d", "vector": [6, 8], "metadata": {"n": 3}}


async def test_a_point_that_is_not_there_is_named(http: httpx.AsyncClient) -> None:
    response = await http.get(f"{PLANE}/points/gone")

    assert refusal(response) == (404, "not_found", "id")
    assert "gone" in message(response)


async def test_points_are_fetched_in_the_order_asked_for(http: httpx.AsyncClient) -> None:
    body = {"ids": ["b", "gone", "a", "b"], "include": ["text"]}
    response = await http.post(f"{PLANE}/points/fetch", json=body)

    assert response.json() == {"points": [{"id": "b", "text": None}, {"id": "a", "text": "alpha"}]}


async def test_points_are_counted_all_or_by_a_filter(http: httpx.AsyncClient) -> None:
    everything = await http.post(f"{PLANE}/points/count", json={})
    some = await http.post(f"{PLANE}/points/count", json={"filter": {"n": {"$gte": 2}}})

    assert (everything.json(), some.json()) == ({"count": 3}, {"count": 2})


async def test_pages_follow_each_other_to_the_end(http: httpx.AsyncClient) -> None:
    pages = []
    cursor = None
    for _ in range(9):
        body = {"limit": 2, "cursor": cursor, "include": ["metadata"]}
        page = (await http.post(f"{PLANE}/points/scroll", json=body)).json()
        pages.append([point["id"] for point in page["points"]])
        cursor = page["cursor"]
        if cursor is None:
            break

    assert [name for page in pages for name in page] == ["a", "b", "c/d"]
    assert len(pages) <= 3


@pytest.mark.parametrize("cursor", ["", "x", "0", "7.1", "-1.0", "0.x", "٣.1"])
async def test_a_cursor_that_no_page_came_with_is_refused(
    http: httpx.AsyncClient, cursor: str
) -> None:
    response = await http.post(f"{PLANE}/points/scroll", json={"cursor": cursor})

    assert refusal(response) == (400, "invalid_input", "cursor")


async def test_points_are_deleted_by_id_and_missing_points_are_no_error(
    http: httpx.AsyncClient,
) -> None:
    first = await http.post(f"{PLANE}/points/delete", json={"ids": ["a", "gone"]})
    again = await http.post(f"{PLANE}/points/delete", json={"ids": ["a"]})
    found = await http.post(f"{PLANE}/search", json={"vector": [0, 0]})

    assert first.json()["deleted"] == 1
    assert again.json()["deleted"] == 0
    assert [hit["id"] for hit in found.json()["results"]] == ["b", "c/d"]


async def test_points_are_deleted_by_a_filter(http: httpx.AsyncClient) -> None:
    gone = await http.post(f"{PLANE}/points/delete", json={"filter": {"tags": "x"}})
    left = await http.post(f"{PLANE}/points/scroll", json={})

    assert gone.json()["deleted"] == 2
    assert [point["id"] for point in left.json()["points"]] == ["c/d"]


@pytest.mark.parametrize("body", [{}, {"ids": ["a"], "filter": {"n": 1}}])
async def test_points_are_deleted_by_either_ids_or_a_filter(
    http: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    response = await http.post(f"{PLANE}/points/delete", json=body)
    count = await http.post(f"{PLANE}/points/count", json={})

    assert refusal(response) == (400, "invalid_input", "ids")
    assert count.json() == {"count": 3}


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("fetch", {"ids": []}, "ids"),
        ("fetch", {"ids": ["a"] * 5}, "ids"),
        ("delete", {"ids": ["a"] * 5}, "ids"),
        ("delete", {"filter": {"$nor": []}}, "filter.$nor"),
        ("count", {"filter": {"n": {"$gt": []}}}, "filter.n.$gt"),
        ("scroll", {"limit": 0}, "limit"),
        ("scroll", {"limit": 1001}, "limit"),
    ],
)
async def test_an_invalid_field_is_refused_by_name(
    http: httpx.AsyncClient, route: str, body: dict[str, Any], field: str
) -> None:
    response = await http.post(f"{PLANE}/points/{route}", json=body)

    assert (refusal(response)[0], refusal(response)[2]) == (400, field)


@pytest.mark.parametrize(
    ("method", "route", "body"),
    [
        ("POST", "points/fetch", {"ids": ["a"]}),
        ("POST", "points/count", {}),
        ("POST", "points/scroll", {}),
        ("POST", "points/delete", {"ids": ["a"]}),
        ("GET", "points/a", None),
    ],
)
async def test_a_collection_that_does_not_exist_is_not_found(
    http: httpx.AsyncClient, method: str, route: str, body: dict[str, Any] | None
) -> None:
    response = await http.request(method, f"/v1/collections/gone/{route}", json=body)

    assert refusal(response) == (404, "collection_not_found", "collection")


async def test_a_search_takes_filters_thresholds_ids_and_diversity(
    http: httpx.AsyncClient,
) -> None:
    async def found(**body: Any) -> list[str]:
        response = await http.post(f"{PLANE}/search", json=body)
        return [hit["id"] for hit in response.raise_for_status().json()["results"]]

    assert await found(vector=[0, 0], filter={"n": {"$ne": 1}}) == ["b", "c/d"]
    assert await found(vector=[0, 0], score_threshold=-5) == ["a", "b"]
    assert await found(id="c/d", top_k=1) == ["b"]
    assert await found(vector=[0, 0], diversity=0.9, top_k=2) == ["a", "c/d"]


async def test_a_search_by_an_id_that_is_not_there_is_refused(http: httpx.AsyncClient) -> None:
    response = await http.post(f"{PLANE}/search", json={"id": "gone"})

    assert refusal(response) == (404, "not_found", "id")


async def test_vectors_come_where_they_are_asked_for(http: httpx.AsyncClient) -> None:
    body = {"vector": [3, 4], "top_k": 1, "include": ["vector", "metadata"]}
    response = await http.post(f"{PLANE}/search", json=body)

    assert response.json()["results"] == [
        {
            "id": "b",
            "vector": [3, 4],
            "metadata": {"n": 2, "tags": ["x", "y"]},
            "score": 0,
            "distance": 0,
        }
    ]


@pytest.mark.parametrize("content", [b"{", b'{"points":[{"id":"a","vector":[NaN,1]}]}'])
async def test_a_body_that_is_not_json_is_refused(http: httpx.AsyncClient, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    response = await http.post(f"{PLANE}/points", content=content, headers=headers)

    assert refusal(response) == (400, "invalid_json", None)
