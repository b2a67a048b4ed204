"""Requests for several kinds of results."""

from __future__ import annotations

from typing import Any

import httpx

from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService
from tests.unit.deployments.ingress.letter_outputs import THREE, TOKENS, WEIGHTS

NDJSON = "application/x-ndjson"


def three_kinds(**limits: Any) -> FakeService:
    """Return a service of a model of each kind, and of one of all kinds."""
    models = (ALIAS, WEIGHTS, TOKENS, THREE)
    return FakeService(*({"name": name} for name in models), **limits)


async def post_outputs(
    body: dict[str, Any], service: FakeService | None = None, **headers: str
) -> httpx.Response:
    """Return the answer to one request for embeddings."""
    async with (service or three_kinds()).client() as http:
        return await http.post("/v1/embeddings", json=body, headers=headers)
