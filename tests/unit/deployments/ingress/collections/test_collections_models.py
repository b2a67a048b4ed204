"""Texts of points and queries of a collection are embedded with one model, or refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from deployments.index.sharded_client import RemoteIndex
from deployments.ingress.service.search_admission import SearchAdmission
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService, message, refusal
from tests.unit.deployments.local_handle import as_handle

OWN = {"name": "/srv/secret/own", "alias": "own"}
"""A model that counts letters in the opposite order: "a" there is as "d" by the default one."""


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    service = FakeService({"name": ALIAS}, OWN)
    async with service.client() as client:
        yield client


async def _fill(http: httpx.AsyncClient, **body: Any) -> httpx.Response:
    points = [{"id": text, "text": text} for text in "abcd"]
    return await http.post("/v1/collections/texts/points", json={"points": points, **body})


async def _nearest(http: httpx.AsyncClient, **body: Any) -> str:
    response = await http.post("/v1/collections/texts/search", json={"top_k": 1, **body})
    assert response.status_code == 200, response.text
    return str(response.json()["results"][0]["id"])


@pytest.mark.parametrize("filled", [None, ALIAS, "own"])
@pytest.mark.parametrize("searched", [None, ALIAS, "own"])
async def test_texts_are_embedded_with_the_model_of_the_collection_or_refused(
    http: httpx.AsyncClient, filled: str | None, searched: str | None
) -> None:
    await _fill(http, model=filled)
    recorded = filled or ALIAS

    if searched in (None, recorded):
        assert await _nearest(http, text="a", model=searched) == "a"
        return
    body = {"text": "a", "model": searched}
    await _refused(await http.post("/v1/collections/texts/search", json=body))
    await _refused(
        await http.post(
            "/v1/collections/texts/search", json={"queries": [{"text": "a"}], "model": searched}
        )
    )
    await _refused(await _fill(http, model=searched))


async def _refused(response: httpx.Response) -> None:
    assert refusal(response) == (409, "model_mismatch", None)
    said = message(response)
    assert f"'{ALIAS}'" in said
    assert "'own'" in said
    assert "'embedder index reembed texts'" in said


async def test_a_collection_says_which_model_filled_it(http: httpx.AsyncClient) -> None:
    await _fill(http)
    described = (await http.get("/v1/collections/texts")).json()

    assert described["model"] == ALIAS
    assert (described["model_revision"], described["model_digest"]) == ("1", "0" * 64)


@pytest.mark.parametrize("stated", [None, ALIAS])
async def test_a_swap_of_the_first_model_is_refused_and_never_answered_by_the_new_one(
    stated: str | None,
) -> None:
    service = FakeService({"name": ALIAS})
    async with service.client() as http:
        await _fill(http, model=stated)
        service.configure({"models": [OWN]})
        await service.model("own")
        answers = [
            await http.post("/v1/collections/texts/search", json={"text": "a"}),
            await http.post("/v1/collections/texts/search", json={"queries": [{"text": "a"}]}),
            await _fill(http),
        ]
        service.configure({"models": [OWN, {"name": ALIAS}]})
        nearest = await _nearest(http, text="a")
        filled = await _fill(http)

    for answer in answers:
        await _refused(answer)
    assert (nearest, filled.status_code) == ("a", 200)


async def test_one_name_for_another_model_is_another_model() -> None:
    service = FakeService({"name": ALIAS, "alias": "live"})
    async with service.client() as http:
        await _fill(http)
        service.configure({"models": [{"name": OWN["name"], "alias": "live"}]})
        await service.model("live")
        # The old model answers until the next one is loaded.
        for _ in range(1000):
            if (await service.model("live")).digest != "0" * 64:
                break
            await asyncio.sleep(0)
        for model in (None, "live"):
            body = {"text": "a", "model": model}
            answer = await http.post("/v1/collections/texts/search", json=body)

            assert refusal(answer) == (409, "model_mismatch", None)
            assert message(answer).count("'live'") == 2


async def test_a_collection_that_is_made_again_is_not_taken_for_the_old_one(
    http: httpx.AsyncClient,
) -> None:
    await _fill(http, model="own")
    assert await _nearest(http, text="a") == "a"
    for made in (True, False):
        await http.delete("/v1/collections/texts")
        if made:
            await http.put("/v1/collections/texts", json={})
        answer = await _fill(http)
        described = (await http.get("/v1/collections/texts")).json()

        assert answer.status_code == 200, answer.text
        assert described["model"] == ALIAS
        assert await _nearest(http, text="a") == "a"
        await http.delete("/v1/collections/texts")
        await _fill(http, model="own")


async def test_changes_by_another_ingress_are_seen_by_the_next_request() -> None:
    service = FakeService({"name": ALIAS}, OWN)
    other = FakeService({"name": ALIAS}, OWN)
    other.index = RemoteIndex({"VectorIndex-0": as_handle(service.handles["index"])})
    other.search_admission = SearchAdmission(other.index, other.admission)
    async with service.client() as http, other.client() as elsewhere:
        await _fill(http, model="own")
        assert await _nearest(http, text="a") == "a"
        await elsewhere.delete("/v1/collections/texts")
        await _fill(elsewhere)
        nearest = await _nearest(http, text="a")
        stored = await _fill(http)
        again = await _nearest(elsewhere, text="a")

    assert (nearest, stored.status_code, again) == ("a", 200, "a")


async def test_vectors_have_no_model_until_the_first_text(http: httpx.AsyncClient) -> None:
    points = [{"id": "x", "vector": [0, 0, 0, 1], "text": "a"}]
    await http.post("/v1/collections/texts/points", json={"points": points})
    before = (await http.get("/v1/collections/texts")).json()
    stated = await http.post("/v1/collections/texts/search", json={"text": "a", "model": "own"})
    between = (await http.get("/v1/collections/texts")).json()
    await _nearest(http, text="d")
    after = (await http.get("/v1/collections/texts")).json()

    assert stated.status_code == 200
    assert before["model"] is between["model"] is None
    assert after["model"] == ALIAS


async def test_a_model_stated_at_the_creation_is_that_of_the_first_text(
    http: httpx.AsyncClient,
) -> None:
    await http.put("/v1/collections/texts", json={"model": "own"})
    refused = await _fill(http, model=ALIAS)
    await _fill(http)
    described = (await http.get("/v1/collections/texts")).json()
    again = await http.put("/v1/collections/texts", json={"model": "own"})

    await _refused(refused)
    assert (described["model"], described["model_digest"]) == ("own", "2" * 64)
    assert again.status_code == 200
    assert await _nearest(http, text="a") == "a"


async def test_a_text_for_a_collection_of_another_width_names_model_and_collection(
    http: httpx.AsyncClient,
) -> None:
    await http.put("/v1/collections/texts", json={"width": 2})
    asked = {"queries": [{"vector": [1, 2]}, {"text": "a"}]}
    answers = {
        "queries[1].text": await http.post("/v1/collections/texts/search", json=asked),
        "points[0].text": await _fill(http),
    }

    for field, answer in answers.items():
        assert refusal(answer) == (400, "invalid_vector", field)
        assert f"model '{ALIAS}' with 4 components; collection 'texts' has 2" in message(answer)


async def test_a_text_beside_a_vector_of_another_width_is_called_a_text(
    http: httpx.AsyncClient,
) -> None:
    points = [{"id": "x", "vector": [1, 2]}, {"id": "y", "text": "a"}]
    answer = await http.post("/v1/collections/texts/points", json={"points": points})

    assert refusal(answer) == (400, "invalid_vector", "points[1].text")
    assert "points[0].vector has 2" in message(answer)


async def test_a_model_may_be_named_where_only_vectors_are_sent(http: httpx.AsyncClient) -> None:
    await _fill(http, model="own")

    assert await _nearest(http, vector=[0, 0, 0, 1], model="own") == "a"


async def test_a_model_that_cannot_be_loaded_stores_nothing() -> None:
    service = FakeService({"name": ALIAS}, OWN)
    service.encoder.missing.add(OWN["name"])
    async with service.client() as http:
        refused = await _fill(http, model="own")
        described = await http.get("/v1/collections/texts")

    assert refusal(refused) == (500, "internal_error", None)
    assert "secret" not in refused.text
    assert refusal(described) == (404, "collection_not_found", "collection")
