"""Texts of collections are embedded with the model that the body names, on both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService, refusal

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
async def test_texts_are_embedded_with_the_model_that_is_named_and_else_with_the_first(
    http: httpx.AsyncClient, filled: str | None, searched: str | None
) -> None:
    await _fill(http, model=filled)
    same = (filled == "own") == (searched == "own")

    assert await _nearest(http, text="a", model=searched) == ("a" if same else "d")


async def test_every_query_of_several_is_embedded_with_the_model_of_the_body(
    http: httpx.AsyncClient,
) -> None:
    await _fill(http)
    body = {"queries": [{"text": text, "top_k": 1} for text in "ab"], "model": "own"}
    response = await http.post("/v1/collections/texts/search", json=body)

    assert [hits[0]["id"] for hits in response.json()["results"]] == ["d", "c"]


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
