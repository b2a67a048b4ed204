"""Requests to a service with two models, and waits for their states."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.unit.deployments.ingress.fake_service import (
    ALIAS,
    FakeService,
    LetterEncoder,
)

OWN = "/srv/secret/own"
"""A directory, whose model counts letters in the opposite order."""

DEFAULT = {"name": ALIAS}
FORWARDS, BACKWARDS = [0.6, 0.8, 0, 0], [0, 0, 0.8, 0.6]
"""The vectors of "aaabbbb" by the two models."""


async def embed(service: FakeService, model: str | None = None) -> httpx.Response:
    body = {"input": "aaabbbb"} if model is None else {"input": "aaabbbb", "model": model}
    async with service.client() as http:
        return await http.post("/v1/embeddings", json=body)


async def vector_of(service: FakeService, model: str | None = None) -> Any:
    response = await embed(service, model)
    assert response.status_code == 200, response.text
    return response.json()["data"][0]["embedding"]


async def listed_models(service: FakeService) -> list[dict[str, Any]]:
    async with service.client() as http:
        response = await http.get("/v1/models")
    data: list[dict[str, Any]] = response.json()["data"]
    return data


def hold_load(encoder: LetterEncoder, name: str) -> asyncio.Event:
    """Block loads of a model until the returned event is set."""
    release = encoder.releases[name] = asyncio.Event()
    return release


async def until_state(service: FakeService, name: str, state: str) -> None:
    """Wait until the model of a name has a state."""
    for _ in range(1000):
        if service.models.state(name).state == state:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{name} is {service.models.state(name)}")
