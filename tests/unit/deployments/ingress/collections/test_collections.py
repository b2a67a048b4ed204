"""Collections over HTTP: created, filled and searched by text or by vector."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from embedder.core.types import Priority
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService, message, refusal

LIMITS = {"max_points": 3, "max_queries": 2, "max_body_bytes": 100_000, "max_characters": 50}


class Door:
    """A client of one service with a collection of three points in a plane."""

    def __init__(self, service: FakeService, http: httpx.AsyncClient) -> None:
        self.service = service
        self.http = http

    async def points(self, *points: Any, name: str = "plane", **fields: Any) -> httpx.Response:
        body = {"points": points, **fields}
        return await self.http.post(f"/v1/collections/{name}/points", json=body)

    async def search(self, name: str = "plane", **body: Any) -> httpx.Response:
        return await self.http.post(f"/v1/collections/{name}/search", json=body)

    async def describe(self, name: str = "plane") -> httpx.Response:
        return await self.http.get(f"/v1/collections/{name}")


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    service = FakeService(**LIMITS)
    async with service.client() as http:
        await http.put("/v1/collections/plane", json={"metric": "l2"})
        opened = Door(service, http)
        await opened.points(
            {"id": "origin", "vector": [0, 0]},
            {"id": "near", "vector": [3, 4], "text": "kept", "metadata": {"n": [1, None]}},
            {
                "id": "🙂/../far",
                "vector": base64.b64encode(np.array([6, 8], "<f4").tobytes()).decode(),
            },
        )
        yield opened


async def test_a_collection_is_described_as_it_is(door: Door) -> None:
    response = await door.describe()

    assert response.status_code == 200
    told = response.json()
    assert len(told.pop("identity")) == 32
    assert told == {
        "name": "plane",
        "metric": "l2",
        "index": "auto",
        "model": None,
        "model_revision": None,
        "model_digest": None,
        "model_pooling": None,
        "width": 2,
        "count": 3,
        "sequence": 1,
        "serving": "flat",
        "segments": 0,
        "dead": 0,
        "pending": 3,
    }


async def test_creating_is_idempotent_and_never_changes_a_metric(door: Door) -> None:
    same = await door.http.put("/v1/collections/plane", json={"metric": "l2"})
    other = await door.http.put("/v1/collections/plane", json={"metric": "dot"})
    model = await door.http.put("/v1/collections/plane", json={"metric": "l2", "model": ALIAS})
    fresh = await door.http.put("/v1/collections/fresh", json={})

    assert same.json() == (await door.describe()).json()
    assert refusal(other) == (400, "invalid_input", "metric")
    assert refusal(model) == (400, "invalid_input", "model")
    assert fresh.json()["metric"] == "cosine"
    assert (fresh.json()["width"], fresh.json()["count"]) == (None, 0)


async def test_collections_are_listed_and_deleted(door: Door) -> None:
    await door.http.put("/v1/collections/a", json={})
    listed = await door.http.get("/v1/collections")
    deleted = await door.http.delete("/v1/collections/plane")
    after = await door.http.get("/v1/collections")

    assert [one["name"] for one in listed.json()["collections"]] == ["a", "plane"]
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert [one["name"] for one in after.json()["collections"]] == ["a"]


async def test_a_search_by_vector_returns_the_nearest_first(door: Door) -> None:
    response = await door.search(vector=[0, 0], top_k=2)

    assert response.json() == {
        "results": [
            {"id": "origin", "score": 0.0, "distance": 0.0},
            {"id": "near", "score": -5.0, "distance": 5.0},
        ],
        "partial": False,
    }


async def test_text_and_metadata_come_only_when_they_are_asked_for(door: Door) -> None:
    both = await door.search(vector=[3, 4], top_k=1, include=["text", "metadata"])
    text = await door.search(vector=[6, 8], top_k=1, include=["text"])

    assert both.json()["results"] == [
        {"id": "near", "score": 0, "distance": 0, "text": "kept", "metadata": {"n": [1, None]}}
    ]
    assert text.json()["results"] == [{"id": "🙂/../far", "score": 0, "distance": 0, "text": None}]


async def test_several_queries_have_an_answer_each(door: Door) -> None:
    queries = [{"vector": [6, 8], "top_k": 1}, {"vector": [0, 1], "top_k": 5}]
    response = await door.search(queries=queries)

    assert [[hit["id"] for hit in hits] for hits in response.json()["results"]] == [
        ["🙂/../far"],
        ["origin", "near", "🙂/../far"],
    ]


async def test_texts_are_embedded_on_the_way_in_and_on_the_way_out(door: Door) -> None:
    points = [{"id": text, "text": text} for text in ("aaab", "bbb", "cd")]
    upserted = await door.points(*points, name="texts")
    found = await door.search("texts", text="aab", top_k=2, include=["text"])
    info = await door.describe("texts")

    assert upserted.json() == {"upserted": 3, "sequence": 1}
    assert (info.json()["metric"], info.json()["width"]) == ("cosine", 4)
    assert [hit["text"] for hit in found.json()["results"]] == ["aaab", "bbb"]
    assert found.json()["results"][0]["score"] == pytest.approx(7 / 50**0.5, abs=1e-6)
    assert "distance" not in found.json()["results"][0]
    assert [priority for _, priority, _ in door.service.encoder.calls] == [
        Priority.BULK,
        Priority.INTERACTIVE,
    ]


async def test_an_id_that_is_given_twice_is_refused_and_nothing_is_stored(door: Door) -> None:
    before = (await door.describe()).json()
    response = await door.points({"id": "new", "vector": [50, 0]}, {"id": "new", "vector": [0, 1]})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "points[1].id"
    assert (await door.describe()).json() == before


NAN = base64.b64encode(np.array([np.nan, 1], "<f4").tobytes()).decode()
GOOD = {"vector": [1, 2]}


@pytest.mark.parametrize(
    ("bad", "code", "field", "word"),
    [
        ({"id": "x", "vector": [1, 2, 3]}, "invalid_vector", "points[1].vector", "3 components"),
        ({"id": "x", "vector": NAN}, "invalid_vector", "points[1].vector", "finite"),
        ({"id": "x", "vector": [1e39, 0]}, "invalid_vector", "points[1].vector", "finite"),
        ({"id": "x", "vector": [1e38, 0]}, "invalid_vector", "points[1].vector", "length"),
        ({"id": "x", "vector": [True, 0]}, "invalid_vector", "points[1].vector[0]", "boolean"),
        ({"id": "x", "vector": []}, "invalid_vector", "points[1].vector", "empty"),
        ({"id": "x", "vector": "?"}, "invalid_vector", "points[1].vector", "base64"),
        ({"id": "x"}, "invalid_input", "points[1]", "text or a vector"),
        ({"id": "", "vector": [1, 2]}, "invalid_input", "points[1].id", "empty"),
        ({"id": 5, "vector": [1, 2]}, "invalid_input", "points[1].id", "string"),
        ({"id": "é" * 128, "vector": [1, 2]}, "limit_exceeded", "points[1].id", "255"),
        ({"vector": [1, 2]}, "invalid_input", "points[1].id", "required"),
        ({"id": "x", "vector": [1, 2], "tag": 1}, "invalid_input", "points[1].tag", "permitted"),
        ({"id": "x", "vector": [1, 2], "metadata": 1}, "invalid_input", "points[1].metadata", ""),
        ({"id": "x", "text": ""}, "invalid_input", "points[1].text", "empty"),
        ({"id": "x", "text": "a" * 51}, "limit_exceeded", "points[1].text", "50"),
    ],
)
async def test_a_refused_point_is_named_and_none_of_its_request_is_stored(
    door: Door, bad: dict[str, Any], code: str, field: str, word: str
) -> None:
    before = (await door.describe()).json()
    response = await door.points({"id": "good", "vector": [9, 9]}, bad)

    assert refusal(response) == (400, code, field)
    assert word in message(response)
    assert (await door.describe()).json() == before


async def test_a_refused_first_upsert_creates_no_collection(door: Door) -> None:
    refused = await door.points({"id": "a", "vector": [0, 0]}, name="new")

    assert refusal(refused) == (400, "invalid_vector", "points[0].vector")
    assert refusal(await door.describe("new")) == (404, "collection_not_found", "collection")


@pytest.mark.parametrize(
    ("body", "code", "field", "word"),
    [
        ({}, "invalid_input", "text", "a text, a vector or an id"),
        ({"vector": [1, 2, 3]}, "invalid_vector", "vector", "2"),
        ({"vector": NAN}, "invalid_vector", "vector", "finite"),
        ({"vector": ["1", 2]}, "invalid_vector", "vector[0]", "string"),
        ({"text": "a"}, "invalid_vector", "text", "4 components; collection 'plane' has 2"),
        ({"text": ""}, "invalid_input", "text", "empty"),
        ({"vector": [1, 2], "top_k": 0}, "invalid_input", "top_k", "1"),
        ({"vector": [1, 2], "top_k": 1001}, "invalid_input", "top_k", "1000"),
        ({"vector": [1, 2], "include": ["name"]}, "invalid_input", "include[0]", "text"),
        ({"vector": [1, 2], "text": "a"}, "invalid_input", "vector", "one of"),
        ({"vector": [1, 2], "id": "near"}, "invalid_input", "id", "one of"),
        ({"vector": [1, 2], "diversity": 1.1}, "invalid_input", "diversity", "1"),
        ({"vector": [1, 2], "score_threshold": "1e999"}, "invalid_input", "score_threshold", ""),
        ({"vector": [1, 2], "filter": 5}, "invalid_input", "filter", ""),
        ({"vector": [1, 2], "filter": {"n": {"$is": 1}}}, "invalid_input", "filter.n.$is", ""),
        (
            {"queries": [GOOD, {"vector": [1, 2], "filter": {"$or": 1}}]},
            "invalid_input",
            "queries[1].filter.$or",
            "",
        ),
        ({"queries": []}, "invalid_input", "queries", "empty"),
        ({"queries": [GOOD] * 3}, "limit_exceeded", "queries", "limit is 2"),
        ({"queries": [GOOD], "text": "a"}, "invalid_input", "queries", "beside"),
        ({"queries": [GOOD, {}]}, "invalid_input", "queries[1]", "vector"),
        ({"queries": [GOOD, {"top_k": 0}]}, "invalid_input", "queries[1].top_k", ""),
        ({"queries": [GOOD, {"vector": [1]}]}, "invalid_vector", "queries[1].vector", ""),
        ({"queries": [GOOD, {"vector": NAN}]}, "invalid_vector", "queries[1].vector", ""),
    ],
)
async def test_a_query_that_cannot_be_answered_is_refused_by_its_field(
    door: Door, body: dict[str, Any], code: str, field: str, word: str
) -> None:
    response = await door.search(**body)

    assert refusal(response) == (400, code, field)
    assert word in message(response)


async def test_more_points_than_the_limit_are_refused_with_both(door: Door) -> None:
    response = await door.points(*({"id": str(n), "vector": [n, n]} for n in range(4)))
    empty = await door.points()

    assert refusal(response) == (400, "limit_exceeded", "points")
    assert "4 items; the limit is 3" in message(response)
    assert refusal(empty) == (400, "invalid_input", "points")


@pytest.mark.parametrize("name", [".a", "a..b", "a%0A", "a%00", "a%20b", "%C3%A9", "a" * 256])
async def test_a_name_that_is_not_plain_is_refused(door: Door, name: str) -> None:
    created = await door.http.put(f"/v1/collections/{name}", json={})
    filled = await door.points({"id": "a", "vector": [1]}, name=name)

    assert refusal(created)[::2] == refusal(filled)[::2] == (400, "collection")


async def test_what_was_never_created_is_not_found_by_any_route(door: Door) -> None:
    answers = [
        await door.describe("gone"),
        await door.search("gone", vector=[1, 2]),
        await door.http.delete("/v1/collections/gone"),
    ]

    for answer in answers:
        assert refusal(answer) == (404, "collection_not_found", "collection")


@pytest.mark.parametrize("item", [{"id": "x", "vector": [1, 2]}, {"id": "x", "text": "a"}])
async def test_an_unknown_model_is_refused_wherever_it_is_named(
    door: Door, item: dict[str, Any]
) -> None:
    query = {key: value for key, value in item.items() if key != "id"}
    answers = [
        await door.http.put("/v1/collections/new", json={"model": "other"}),
        await door.points(item, name="new", model="other"),
        await door.search(**query, model="other"),
    ]

    assert [refusal(answer) for answer in answers] == [(404, "model_not_found", "model")] * 3


@pytest.mark.parametrize("depth", [10, 200, 800])
async def test_whatever_metadata_is_stored_can_be_asked_for(door: Door, depth: int) -> None:
    nested = '{"a":' * depth + "1" + "}" * depth
    body = '{"points":[{"id":"deep","vector":[9,9],"metadata":' + nested + "}]}"
    headers = {"content-type": "application/json"}
    stored = await door.http.post("/v1/collections/plane/points", content=body, headers=headers)
    found = await door.search(vector=[9, 9], top_k=1, include=["metadata"])

    assert stored.status_code == 400 or found.text.count('{"a":') == depth
