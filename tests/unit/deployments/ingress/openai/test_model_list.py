"""The served models are listed as OpenAI lists its own, by each of their names."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.unit.deployments.ingress.fake_service import ALIAS, REPOSITORY, FakeService, refusal


async def _get(path: str) -> httpx.Response:
    async with FakeService().client() as http:
        await asyncio.sleep(0)  # starts to load the model
        return await http.get(path)


async def test_the_served_model_is_listed() -> None:
    body = (await _get("/v1/models")).json()
    created = body["data"][0].pop("created")

    assert body == {
        "object": "list",
        "data": [
            {
                "id": ALIAS,
                "object": "model",
                "owned_by": "sentence-transformers",
                "state": "loading",
            }
        ],
    }
    assert isinstance(created, int)


@pytest.mark.parametrize("name", [ALIAS, REPOSITORY, REPOSITORY.replace("/", "%2F")])
async def test_the_served_model_is_described_by_each_of_its_names(name: str) -> None:
    listed = (await _get("/v1/models")).json()["data"][0]

    assert (await _get(f"/v1/models/{name}")).json() == listed


@pytest.mark.parametrize("name", ["other", "a/b", "a%2Fb", f"{ALIAS}x", ALIAS.lower()])
async def test_a_model_that_is_not_served_is_not_found(name: str) -> None:
    response = await _get(f"/v1/models/{name}")

    assert refusal(response) == (404, "model_not_found", "model")
