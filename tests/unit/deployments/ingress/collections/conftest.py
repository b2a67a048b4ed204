"""A fixture of the tests of collections."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import numpy as np
import pytest

from tests.unit.deployments.ingress.collections.plane import LIMITS, Plane
from tests.unit.deployments.ingress.fake_service import FakeService


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    """Yield a client of a service with three points in a plane."""
    service = FakeService(**LIMITS)
    async with service.client() as http:
        await http.put("/v1/collections/plane", json={"metric": "l2"})
        client = Plane(service, http)
        await client.points(
            {"id": "origin", "vector": [0, 0]},
            {"id": "near", "vector": [3, 4], "text": "kept", "metadata": {"n": [1, None]}},
            {
                "id": "🙂/../far",
                "vector": base64.b64encode(np.array([6, 8], "<f4").tobytes()).decode(),
            },
        )
        yield client
