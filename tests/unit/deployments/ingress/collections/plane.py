"""A collection of three points in a plane, and requests to it."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np

from tests.unit.deployments.ingress.fake_service import FakeService

LIMITS = {"max_points": 3, "max_queries": 2, "max_body_bytes": 100_000, "max_characters": 50}


NAN = base64.b64encode(np.array([np.nan, 1], "<f4").tobytes()).decode()
"""The vector (NaN, 1)."""


class Plane:
    """A client of one service with the collection ``plane``."""

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
