"""Collections over HTTP: created, described, filled and deleted."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.deployments.ingress.collections.plane import NAN, Plane
from tests.unit.deployments.ingress.fake_service import ALIAS, message, refusal


async def test_a_collection_is_described_as_it_is(plane: Plane) -> None:
    response = await plane.describe()

    assert response.status_code == 200
    described = response.json()
    assert len(described.pop("identity")) == 32
    assert described == {
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
        "deleted": 0,
        "pending": 3,
    }


async def test_creating_is_idempotent_and_never_changes_a_metric(plane: Plane) -> None:
    same = await plane.http.put("/v1/collections/plane", json={"metric": "l2"})
    other = await plane.http.put("/v1/collections/plane", json={"metric": "dot"})
    model = await plane.http.put("/v1/collections/plane", json={"metric": "l2", "model": ALIAS})
    fresh = await plane.http.put("/v1/collections/fresh", json={})

    assert same.json() == (await plane.describe()).json()
    assert refusal(other) == (400, "invalid_input", "metric")
    assert refusal(model) == (400, "invalid_input", "model")
    assert fresh.json()["metric"] == "cosine"
    assert (fresh.json()["width"], fresh.json()["count"]) == (None, 0)


async def test_collections_are_listed_and_deleted(plane: Plane) -> None:
    await plane.http.put("/v1/collections/a", json={})
    listed = await plane.http.get("/v1/collections")
    deleted = await plane.http.delete("/v1/collections/plane")
    after = await plane.http.get("/v1/collections")

    assert [one["name"] for one in listed.json()["collections"]] == ["a", "plane"]
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert [one["name"] for one in after.json()["collections"]] == ["a"]


async def test_an_id_that_is_given_twice_is_refused_and_nothing_is_stored(plane: Plane) -> None:
    before = (await plane.describe()).json()
    response = await plane.points({"id": "new", "vector": [50, 0]}, {"id": "new", "vector": [0, 1]})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "points[1].id"
    assert (await plane.describe()).json() == before


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
    plane: Plane, bad: dict[str, Any], code: str, field: str, word: str
) -> None:
    before = (await plane.describe()).json()
    response = await plane.points({"id": "good", "vector": [9, 9]}, bad)

    assert refusal(response) == (400, code, field)
    assert word in message(response)
    assert (await plane.describe()).json() == before


async def test_a_refused_first_upsert_creates_no_collection(plane: Plane) -> None:
    refused = await plane.points({"id": "a", "vector": [0, 0]}, name="new")

    assert refusal(refused) == (400, "invalid_vector", "points[0].vector")
    assert refusal(await plane.describe("new")) == (404, "collection_not_found", "collection")


async def test_more_points_than_the_limit_are_refused_with_both(plane: Plane) -> None:
    response = await plane.points(*({"id": str(n), "vector": [n, n]} for n in range(4)))
    empty = await plane.points()

    assert refusal(response) == (400, "limit_exceeded", "points")
    assert "4 items; the limit is 3" in message(response)
    assert refusal(empty) == (400, "invalid_input", "points")


@pytest.mark.parametrize("name", [".a", "a..b", "a%0A", "a%00", "a%20b", "%C3%A9", "a" * 256])
async def test_a_name_that_is_not_plain_is_refused(plane: Plane, name: str) -> None:
    created = await plane.http.put(f"/v1/collections/{name}", json={})
    filled = await plane.points({"id": "a", "vector": [1]}, name=name)

    assert refusal(created)[::2] == refusal(filled)[::2] == (400, "collection")


async def test_every_route_refuses_an_unknown_collection(plane: Plane) -> None:
    answers = [
        await plane.describe("gone"),
        await plane.search("gone", vector=[1, 2]),
        await plane.http.delete("/v1/collections/gone"),
    ]

    for answer in answers:
        assert refusal(answer) == (404, "collection_not_found", "collection")


@pytest.mark.parametrize("item", [{"id": "x", "vector": [1, 2]}, {"id": "x", "text": "a"}])
async def test_an_unknown_model_is_refused_wherever_it_is_named(
    plane: Plane, item: dict[str, Any]
) -> None:
    query = {key: value for key, value in item.items() if key != "id"}
    answers = [
        await plane.http.put("/v1/collections/new", json={"model": "other"}),
        await plane.points(item, name="new", model="other"),
        await plane.search(**query, model="other"),
    ]

    assert [refusal(answer) for answer in answers] == [(404, "model_not_found", "model")] * 3
