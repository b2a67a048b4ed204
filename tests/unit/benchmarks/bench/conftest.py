"""A server in virtual time that the loads are sent to."""

from __future__ import annotations

import time

import pytest

from benchmarks.bench import loads
from tests.unit.benchmarks.bench.virtual_service import VirtualService
from tests.unit.virtual_time import VirtualTime


@pytest.fixture
async def service(
    monkeypatch: pytest.MonkeyPatch, virtual_time: VirtualTime, request: pytest.FixtureRequest
) -> VirtualService:
    """Return the server that the loops ask; the parameter is its fields."""
    service = VirtualService(**getattr(request, "param", {}))
    monkeypatch.setattr(time, "perf_counter", virtual_time)
    monkeypatch.setattr(loads, "_session", lambda route: service)
    return service
