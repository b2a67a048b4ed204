"""Collections over HTTP: searched by text, by vector or by id."""

from __future__ import annotations

from typing import Any

import pytest

from embedder.core.types import Priority
from tests.unit.deployments.ingress.collections.plane import NAN, Plane
from tests.unit.deployments.ingress.fake_service import message, refusal

GOOD = {"vector": [1, 2]}


async def test_a_search_by_vector_returns_the_nearest_first(plane: Plane) -> None:
    response = await plane.search(vector=[0, 0], top_k=2)

    assert response.json() == {
        "results": [
            {"id": "origin", "score": 0.0, "distance": 0.0},
            {"id": "near", "score": -5.0, "distance": 5.0},
        ],
        "partial": False,
    }


async def test_text_and_metadata_come_only_when_they_are_asked_for(plane: Plane) -> None:
    both = await plane.search(vector=[3, 4], top_k=1, include=["text", "metadata"])
    text = await plane.search(vector=[6, 8], top_k=1, include=["text"])

    assert both.json()["results"] == [
        {"id": "near", "score": 0, "distance": 0, "text": "kept", "metadata": {"n": [1, None]}}
    ]
    assert text.json()["results"] == [{"id": "🙂/../far", "score": 0, "distance": 0, "text": None}]


async def test_several_queries_have_an_answer_each(plane: Plane) -> None:
    queries = [{"vector": [6, 8], "top_k": 1}, {"vector": [0, 1], "top_k": 5}]
    response = await plane.search(queries=queries)

    assert [[hit["id"] for hit in hits] for hits in response.json()["results"]] == [
        ["🙂/../far"],
        ["origin", "near", "🙂/../far"],
    ]


async def test_texts_of_points_and_of_queries_are_embedded(plane: Plane) -> None:
    points = [{"id": text, "text": text} for text in ("aaab", "bbb", "cd")]
    upserted = await plane.points(*points, name="texts")
    found = await plane.search("texts", text="aab", top_k=2, include=["text"])
    info = await plane.describe("texts")

    assert upserted.json() == {"upserted": 3, "sequence": 1}
    assert (info.json()["metric"], info.json()["width"]) == ("cosine", 4)
    assert [hit["text"] for hit in found.json()["results"]] == ["aaab", "bbb"]
    assert found.json()["results"][0]["score"] == pytest.approx(7 / 50**0.5, abs=1e-6)
    assert "distance" not in found.json()["results"][0]
    assert [priority for _, priority, _ in plane.service.encoder.calls] == [
        Priority.BULK,
        Priority.INTERACTIVE,
    ]


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
    plane: Plane, body: dict[str, Any], code: str, field: str, word: str
) -> None:
    response = await plane.search(**body)

    assert refusal(response) == (400, code, field)
    assert word in message(response)


@pytest.mark.parametrize("depth", [10, 200, 800])
async def test_whatever_metadata_is_stored_can_be_asked_for(plane: Plane, depth: int) -> None:
    nested = '{"a":' * depth + "1" + "}" * depth
    body = '{"points":[{"id":"deep","vector":[9,9],"metadata":' + nested + "}]}"
    headers = {"content-type": "application/json"}
    stored = await plane.http.post("/v1/collections/plane/points", content=body, headers=headers)
    found = await plane.search(vector=[9, 9], top_k=1, include=["metadata"])

    assert stored.status_code == 400 or found.text.count('{"a":') == depth
