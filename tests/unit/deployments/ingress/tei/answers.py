"""Requests to the routes of text-embeddings-inference, and their refusals taken apart."""

from __future__ import annotations

from typing import Any

import httpx

from tests.unit.deployments.ingress.fake_service import FakeService


async def post(path: str, body: Any, service: FakeService | None = None) -> httpx.Response:
    """Return the answer to one request."""
    async with (service or FakeService()).client() as http:
        return await http.post(path, json=body)


async def get(path: str, service: FakeService | None = None) -> httpx.Response:
    """Return the answer to one question."""
    async with (service or FakeService()).client() as http:
        return await http.get(path)


def refusal(response: httpx.Response) -> tuple[int, str, str]:
    """Return status, kind and sentence of an answer in the error shape of these routes."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"error", "error_type"}
    return response.status_code, body["error_type"], body["error"]
