"""The maintenance of an ingress: it announces models to the cache shards."""

from __future__ import annotations

import asyncio

import pytest

from deployments.ingress.service import caches
from embedder.core.errors import StageUnavailable
from embedder.pipeline.fingerprint import model_tag
from tests.unit.deployments.ingress.fake_service import MODEL, FakeService

pytestmark = pytest.mark.usefixtures("virtual_time")


async def _announced(service: FakeService) -> list[str]:
    await asyncio.sleep(0.02)
    announced = await service.handles["cache"].models.remote()
    return [one.tag for one in announced]


async def test_a_connected_model_is_announced_to_a_shard() -> None:
    service = FakeService()
    await service.model(None)

    assert await _announced(service) == [model_tag(MODEL).hex()]


async def test_a_model_is_announced_again_to_a_restarted_shard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(caches, "ANNOUNCE_EVERY_S", 0.0)
    service = FakeService()
    service.handles["cache"].fault = StageUnavailable("EmbeddingCache-0", "gone")
    await service.model(None)
    service.handles["cache"].fault = None
    before = await _announced(service)
    service.run_maintenance()

    assert before == []
    assert await _announced(service) == [model_tag(MODEL).hex()]
