"""What an operator may ask of the caches: what they hold, and that they forget it."""

from __future__ import annotations

import asyncio

import pytest

from deployments.cache.client import INSERTION_PAUSE_S
from embedder.core.errors import StageUnavailable
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService, refusal
from tests.unit.deployments.ingress.test_access import KeyedService

pytestmark = pytest.mark.usefixtures("virtual_time")


async def test_the_caches_tell_what_they_hold_and_how_often_that_was_wanted() -> None:
    service = FakeService()
    async with service.client() as http:
        empty = (await http.get("/v1/cache")).json()
        for texts in (["a", "b"], ["a"], ["a"]):
            await http.post("/v1/embeddings", json={"input": texts})
        await asyncio.sleep(0.01)
        caches = (await http.get("/v1/cache")).json()

    assert empty["local"][0]["hit_ratio"] is empty["shards"][0]["hit_ratio"] is None
    assert caches["local"][0]["replica"] == "local"
    assert (caches["local"][0]["hits"], caches["local"][0]["misses"]) == (2, 2)
    assert caches["local"][0]["hit_ratio"] == 0.5
    assert (caches["shards"][0]["hits"], caches["shards"][0]["misses"]) == (0, 2)
    assert caches["shards"][0]["entries"] == 2
    assert caches["shards"][0]["shard"] == "EmbeddingCache-0"


async def test_clearing_forgets_every_vector_everywhere() -> None:
    service = FakeService()
    await service.post_texts("a", "b")
    await asyncio.sleep(0.01)
    async with service.client() as http:
        cleared = await http.delete("/v1/cache")
        caches = (await http.get("/v1/cache")).json()
        again = await http.delete("/v1/cache")
    await service.post_texts("a")

    assert (cleared.status_code, cleared.json()) == (200, {"cleared": 4})
    assert again.json() == {"cleared": 0}
    assert caches["local"][0]["entries"] == caches["shards"][0]["entries"] == 0
    assert caches["local"][0]["bytes"] == caches["shards"][0]["bytes"] == 0
    assert len(service.encoder.calls) == 2, "it is computed again"


async def test_forgetting_one_model_leaves_the_others() -> None:
    service = FakeService({"name": ALIAS}, {"name": "/srv/own"})
    async with service.client() as http:
        for model in (ALIAS, "own"):
            await http.post("/v1/embeddings", json={"input": ["a", "b"], "model": model})
        # Inserts follow each other with a pause.
        await asyncio.sleep(2 * INSERTION_PAUSE_S)
        cleared = await http.delete("/v1/cache", params={"model": "own"})
        unknown = await http.delete("/v1/cache", params={"model": "other"})
        for model in (ALIAS, "own"):
            await http.post("/v1/embeddings", json={"input": ["a", "b"], "model": model})

    assert cleared.json() == {"cleared": 4}
    assert refusal(unknown) == (404, "model_not_found", "model")
    assert len(service.encoder.calls) == 3, "only the forgotten ones are computed again"


@pytest.mark.parametrize("broken", ["cache", "ingress"])
async def test_clearing_that_reaches_not_all_caches_is_no_success(broken: str) -> None:
    service = FakeService()
    await service.post_texts("a")
    service.handles[broken].fault = StageUnavailable("Stage", "secret")
    async with service.client() as http:
        failed = await http.delete("/v1/cache")
        service.handles[broken].fault = None
        again = await http.delete("/v1/cache")

    assert refusal(failed) == (503, "stage_unavailable", None)
    assert again.status_code == 200


@pytest.mark.parametrize(("key", "status"), [("read", 403), ("write", 403), ("admin", 200)])
async def test_only_an_administrator_may_clear_the_caches(key: str, status: int) -> None:
    async with KeyedService().client() as http:
        response = await http.delete("/v1/cache", headers={"x-api-key": key})

    assert response.status_code == status


async def test_a_cache_that_fails_is_counted() -> None:
    service = FakeService()
    service.handles["cache"].fault = StageUnavailable("EmbeddingCache-0", "lost")
    await service.post_texts("a")
    async with service.client() as http:
        stats = (await http.get("/v1/stats")).json()

    assert stats["ingress"]["shards"][0]["failures"] >= 1
