"""Any Unicode strings over HTTP come back the same, or are refused by their field."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.deployments.ingress.fake_service import FakeService, message, refusal
from tests.unit.index.contract.filter_oracle import matches
from tests.unit.index.contract.filter_strategies import METADATA, filters
from tests.unit.index.hostile_strings import ANY_TEXT, HOSTILE_IDS, IDS

PLANE = "/v1/collections/plane"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with FakeService(max_points=200).client() as client:
        yield client


def _place(name: str) -> str:
    # A dot is encoded too: clients resolve the segments "." and ".." themselves.
    return f"{PLANE}/points/{quote(name, safe='').replace('.', '%2E')}"


async def _put(http: httpx.AsyncClient, *points: dict[str, Any]) -> httpx.Response:
    body = {"points": [{"vector": [1, at], **one} for at, one in enumerate(points)]}
    return await http.post(f"{PLANE}/points", json=body)


async def _post(http: httpx.AsyncClient, route: str, **body: Any) -> Any:
    response = await http.post(f"{PLANE}/{route}", json=body)
    assert response.status_code == 200, response.text
    return response.json()


@given(st.dictionaries(IDS, st.tuples(ANY_TEXT, METADATA), min_size=1, max_size=6), st.data())
@settings(max_examples=25, deadline=None)
def test_every_string_comes_back_as_it_was_sent(
    stored: dict[str, tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    points: list[dict[str, Any]] = [
        {"id": name, "text": text, "metadata": metadata}
        for name, (text, metadata) in stored.items()
    ]
    condition = data.draw(filters(points[0]["metadata"]))
    gone = data.draw(st.sampled_from(sorted(stored)))

    async def check() -> None:
        async with FakeService().client() as http:
            for _ in range(2):  # a retry changes nothing
                assert (await _put(http, *points)).status_code == 200
            include = ["text", "metadata"]
            fetched = await _post(http, "points/fetch", ids=list(stored), include=include)
            assert fetched["points"] == points
            scrolled = await _post(http, "points/scroll", include=include)
            assert scrolled == {"points": points, "cursor": None}
            for point in points:
                assert (await http.get(_place(point["id"]))).json() == point
                found = await _post(http, "search", id=point["id"])
                assert {hit["id"] for hit in found["results"]} == stored.keys() - {point["id"]}
            matching = [one for one in points if matches(condition, one["metadata"])]
            count = await _post(http, "points/count", filter=condition)
            assert count == {"count": len(matching)}
            found = await _post(http, "search", vector=[1, 1], filter=condition)
            assert {hit["id"] for hit in found["results"]} == {one["id"] for one in matching}
            assert (await _post(http, "points/delete", ids=[gone]))["deleted"] == 1
            left = await _post(http, "points/scroll")
            assert [one["id"] for one in left["points"]] == [one for one in stored if one != gone]

    asyncio.run(check())


async def test_every_id_is_read_by_its_path(http: httpx.AsyncClient) -> None:
    assert (await _put(http, *({"id": name} for name in HOSTILE_IDS))).status_code == 200

    for name in HOSTILE_IDS:
        response = await http.get(_place(name))
        assert (response.status_code, response.json().get("id")) == (200, name)


@pytest.mark.parametrize("word", ["fetch", "count", "scroll", "delete"])
async def test_the_word_of_a_route_is_an_id_too(http: httpx.AsyncClient, word: str) -> None:
    await _put(http, {"id": "a"})
    absent = await http.get(f"{PLANE}/points/{word}")
    await _put(http, {"id": word})
    there = await http.get(f"{PLANE}/points/{word}")

    assert refusal(absent) == (404, "not_found", "id")
    assert there.json()["id"] == word


async def test_an_id_that_begins_like_another_one_is_another_point(
    http: httpx.AsyncClient,
) -> None:
    await _put(http, {"id": "a", "text": "kept"})
    deleted = await _post(http, "points/delete", ids=["a\0zzz"])
    again = [await _put(http, {"id": "a\0b"}) for _ in range(2)]

    assert deleted["deleted"] == 0
    assert [response.status_code for response in again] == [200, 200]
    assert (await http.get(f"{PLANE}/points/a")).json()["text"] == "kept"
    assert (await http.get(f"{PLANE}/points/a%00")).status_code == 404
    assert await _post(http, "points/count") == {"count": 2}


async def test_metadata_that_is_null_is_as_absent(http: httpx.AsyncClient) -> None:
    assert (await _put(http, {"id": "a", "metadata": None})).status_code == 200
    assert (await http.get(f"{PLANE}/points/a")).json()["metadata"] == {}


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"": 1}, "an empty key"),
        ({"k" * 257: 1}, "257 characters in a key; the limit is 256"),
        ({"a": {"b": {"": []}}}, "an empty key"),
    ],
)
async def test_a_key_that_no_filter_can_name_is_refused(
    http: httpx.AsyncClient, metadata: dict[str, Any], words: str
) -> None:
    response = await _put(http, {"id": "a"}, {"id": "b", "metadata": metadata})

    assert (refusal(response)[0], refusal(response)[2]) == (400, "points[1].metadata")
    assert words in message(response)


async def test_the_longest_key_is_stored_and_named(http: httpx.AsyncClient) -> None:
    keys = ["." * 256, "\\" * 256, "🙂" * 256]
    assert (
        await _put(http, {"id": "a", "metadata": {keys[0]: {keys[1]: {keys[2]: 1}}}})
    ).status_code == 200

    field = ".".join([r"\." * 256, r"\\" * 256, keys[2]])
    assert await _post(http, "points/count", filter={field: 1}) == {"count": 1}


@pytest.mark.parametrize("name", ["a%0A", "%00", "a%00b", "%C3%A9", "a%20b", "..a", "-", "a" * 64])
async def test_a_collection_s_name_that_is_not_plain_is_refused(
    http: httpx.AsyncClient, name: str
) -> None:
    made = await http.put(f"/v1/collections/{name}", json={})
    filled = await http.post(
        f"/v1/collections/{name}/points", json={"points": [{"id": "a", "vector": [1]}]}
    )

    assert (refusal(made)[0], refusal(made)[2]) == (400, "collection")
    assert (refusal(filled)[0], refusal(filled)[2]) == (400, "collection")


async def test_a_path_that_is_not_utf_8_names_no_point(http: httpx.AsyncClient) -> None:
    """U+FFFD is a valid id, and must not stand for invalid bytes."""
    await _put(http, {"id": "\ufffd"})
    there, wrong = [await http.get(f"{PLANE}/points/{one}") for one in ("%EF%BF%BD", "%FF")]

    assert there.json()["id"] == "\ufffd"
    assert refusal(wrong) == (400, "invalid_input", "path")


@pytest.mark.parametrize("field", ["id", "text", "metadata", "filter"])
async def test_a_lone_surrogate_is_no_json(http: httpx.AsyncClient, field: str) -> None:
    values = {"metadata": '{"k": "\\ud800"}', "filter": '{"k": "\\udfff"}'}
    value = values.get(field, '"\\ud800"')
    body = f'{{"points": [{{"id": "a", "vector": [1], "{field}": {value}}}]}}'
    response = await http.post(
        f"{PLANE}/points", content=body, headers={"content-type": "application/json"}
    )

    assert refusal(response)[:2] == (400, "invalid_json")


@pytest.mark.parametrize(
    ("method", "route", "body", "field"),
    [
        ("GET", "points/" + "a" * 256, None, "id"),
        ("POST", "points/fetch", {"ids": ["a", ""]}, "ids[1]"),
        ("POST", "points/delete", {"ids": ["a", "é" * 128]}, "ids[1]"),
        ("POST", "search", {"id": ""}, "id"),
        ("POST", "search", {"queries": [{"id": "a"}, {"id": "a" * 256}]}, "queries[1].id"),
        ("POST", "points/scroll", {"cursor": "9" * 5000}, "cursor"),
        ("POST", "points/scroll", {"cursor": "0." + "9" * 5000}, "cursor"),
        ("POST", "points/scroll", {"cursor": "9" * 5000 + "."}, "cursor"),
        ("POST", "points/scroll", {"cursor": "0.a\0"}, "cursor"),
        ("POST", "search", {"vector": [1, 0], "top_k": 2**70}, "top_k"),
        ("POST", "points/scroll", {"limit": -(2**70)}, "limit"),
    ],
)
async def test_what_cannot_be_a_point_s_is_refused_by_its_field(
    http: httpx.AsyncClient, method: str, route: str, body: Any, field: str
) -> None:
    await _put(http, {"id": "a"})
    response = await http.request(method, f"{PLANE}/{route}", json=body)

    assert (refusal(response)[0], refusal(response)[2]) == (400, field)


@pytest.mark.parametrize("threshold", [1e300, -1e300, 1.7976931348623157e308])
async def test_a_threshold_beyond_float32_is_a_threshold(
    http: httpx.AsyncClient, threshold: float
) -> None:
    await _put(http, {"id": "a"})
    found = await _post(http, "search", vector=[1, 0], score_threshold=threshold)

    assert len(found["results"]) == (0 if threshold > 0 else 1)


async def test_a_cursor_of_another_collection_is_refused(http: httpx.AsyncClient) -> None:
    await _put(http, {"id": "a"}, {"id": "b"})
    cursor = (await _post(http, "points/scroll", limit=1))["cursor"]
    await http.put("/v1/collections/other", json={})
    response = await http.post("/v1/collections/other/points/scroll", json={"cursor": cursor})

    assert refusal(response) == (400, "invalid_input", "cursor")
    assert "'other'" in message(response)


def _deep(levels: int) -> dict[str, Any]:
    condition: dict[str, Any] = {"b": 2}
    for _ in range(levels - 1):
        condition = {"b": 2, "$not": condition}
    return condition


async def test_the_deepest_filter_is_answered_by_every_route(http: httpx.AsyncClient) -> None:
    await _put(http, {"id": "a", "metadata": {"b": 2}}, {"id": "b", "metadata": {"b": 3}})
    deepest, too_deep = _deep(16), _deep(17)
    bodies: dict[str, dict[str, Any]] = {
        "search": {"vector": [1, 0]},
        "points/count": {},
        "points/scroll": {},
        "points/delete": {},
    }
    wanted = int(matches(deepest, {"b": 2}))
    for route, body in bodies.items():
        response = await http.post(f"{PLANE}/{route}", json={**body, "filter": too_deep})
        assert (refusal(response)[0], refusal(response)[1]) == (400, "limit_exceeded")
        assert "the limit is 15" in message(response)
        answer = await _post(http, route, **body, filter=deepest)
        found = answer.get("results", answer.get("points", ()))
        assert answer.get("count", answer.get("deleted", len(found))) == wanted
    assert (await _put(http, {"id": "c"})).status_code == 200
