"""What an operator is told and may do: true numbers, of whatever still answers."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from deployments.ingress.operation import graph
from deployments.remote_stages import INSERTS_PAUSE_S
from embedder.cache.memory import OVERHEAD_BYTES
from embedder.errors import StageUnavailable
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService, refusal
from tests.unit.deployments.ingress.test_access import KeyedService

STAGES = {
    "encoder": "encoders",
    "tokenizer": "tokenizers",
    "cache": "caches",
    "index": "collections",
}


async def _stats(service: FakeService) -> dict[str, Any]:
    async with service.client() as http:
        response = await http.get("/v1/stats")
    assert response.status_code == 200
    told: dict[str, Any] = response.json()
    return told


async def _embed(service: FakeService, *texts: str) -> httpx.Response:
    async with service.client() as http:
        return await http.post("/v1/embeddings", json={"input": texts})


async def test_the_ingress_that_answers_tells_what_went_through_it() -> None:
    service = FakeService()
    await _embed(service, "a", "b")
    await _embed(service, "b", "")
    told = (await _stats(service))["ingress"]

    assert told.pop("uptime_s") > 0
    assert told.pop("tasks") >= 1
    assert told["near_cache"].pop("age_s") >= 0
    # Those that arrived a moment ago are counted too.
    assert told["shards"][0].pop("pending") <= 1
    assert told == {
        "replica": "local",
        "in_flight": 1,
        "answers": {"200": 1, "400": 1},
        "abandoned": 0,
        "flights": 0,
        "backlog": {
            "queued_tokens": {"interactive": 0, "bulk": 0},
            "tokens_per_s": None,
            "predicted_wait_s": 0.0,
            "admitted": 1,
            "refused": 0,
            "returned": 0,
            "booked_tokens": 0,
        },
        "near_cache": {
            "replica": "local",
            "entries": 2,
            "bytes": 2 * (OVERHEAD_BYTES + 4 * 4),
            "max_bytes": 32 * 2**20,
            "hits": 0,
            "misses": 2,
            "expired": 0,
            "evicted": 0,
            "rejected": 0,
            "hit_ratio": 0.0,
        },
        "shards": [
            {
                "name": "EmbeddingCache-0",
                "circuit": "closed",
                "failures": 0,
                "opened": 0,
            }
        ],
    }


async def test_what_is_being_computed_is_told_while_it_is() -> None:
    service = FakeService()
    await _embed(service, "a")
    gate = asyncio.Event()
    encode = service.encoder.encode

    async def wait(*args: Any) -> Any:
        await gate.wait()
        return await encode(*args)

    service.encoder.encode = wait  # type: ignore[assignment, method-assign]
    embedding = asyncio.ensure_future(_embed(service, "b", "c", "dd"))
    await asyncio.sleep(0.05)
    during = (await _stats(service))["ingress"]
    gate.set()
    await embedding
    after = (await _stats(service))["ingress"]

    assert (during["flights"], during["in_flight"]) == (3, 2)
    assert during["backlog"]["queued_tokens"]["interactive"] > 0
    assert (after["flights"], after["in_flight"]) == (0, 1)


async def test_a_cache_that_fails_is_counted() -> None:
    service = FakeService()
    service.handles["cache"].fault = StageUnavailable("EmbeddingCache-0", "lost")
    await _embed(service, "a")

    assert (await _stats(service))["ingress"]["shards"][0]["failures"] >= 1


async def test_the_models_that_clients_may_name_are_told() -> None:
    service = FakeService({"name": ALIAS}, {"name": "/srv/secret/own"})
    service.encoder.missing.add("/srv/secret/own")
    await _embed(service, "a")
    async with service.client() as http:
        await http.post("/v1/embeddings", json={"input": "a", "model": "own"})
    told = await _stats(service)

    assert told["models"] == [
        {"name": ALIAS, "state": "ready", "problem": None, "waiting": 0},
        {
            "name": "own",
            "state": "failed",
            "problem": "it could not be loaded; the log says why",
            "waiting": 0,
        },
    ]
    assert "secret" not in str(told)


async def test_every_replica_tells_of_its_models() -> None:
    service = FakeService()
    await _embed(service, "a")
    told = await _stats(service)
    (encoder,), (tokenizer,) = told["encoders"], told["tokenizers"]
    ready, failed = encoder["models"]

    assert (encoder["replica"], tokenizer["replica"]) == ("encoder-1", "tokenizer-1")
    assert (ready["name"], ready["state"], ready["bytes"], ready["waiting"]) == (
        "letters",
        "ready",
        7,
        3,
    )
    assert (ready["batching"]["batches"], ready["batching"]["budget_tokens"]) == (1, 100)
    assert ready["problem"] is None
    assert failed["problem"] == "it could not be loaded; the log says why"
    assert failed["batching"] is None
    assert tokenizer["models"][0].keys() == ready.keys() - {"waiting", "batching"}
    assert "secret" not in str(told)


async def test_the_shared_cache_and_the_collections_are_told() -> None:
    service = FakeService()
    async with service.client() as http:
        await http.put("/v1/collections/plane", json={"metric": "l2"})
        await http.post("/v1/collections/plane/points", json={"points": [{"id": "a", "text": "b"}]})
    await asyncio.sleep(0.01)
    told = await _stats(service)

    assert told["collections"] == [
        {"name": "plane", "metric": "l2", "width": 4, "count": 1, "sequence": 1}
    ]
    assert (told["caches"][0]["entries"], told["caches"][0]["misses"]) == (1, 1)
    assert told["caches"][0]["max_bytes"] == 256 * 2**20


@pytest.mark.parametrize("broken", STAGES)
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (StageUnavailable("Stage", "secret"), "the Stage is not available"),
        (ValueError("secret"), "it failed to answer; the log says why"),
    ],
)
async def test_a_stage_that_fails_is_told_in_its_place_and_the_others_are_told(
    broken: str, fault: Exception, says: str
) -> None:
    service = FakeService()
    service.handles[broken].fault = fault
    told = await _stats(service)

    assert told[STAGES[broken]] in ({"problem": says}, [{"problem": says}])
    assert [name for name in STAGES.values() if says in str(told[name])] == [STAGES[broken]]
    assert "secret" not in str(told)


async def test_a_stage_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    service = FakeService()
    service.encoder.stats = hang  # type: ignore[assignment, method-assign]
    monkeypatch.setattr(graph, "PATIENCE_S", 0.05)
    told = await _stats(service)

    assert told["encoders"] == [{"problem": "the deadline passed while waiting for the Encoder"}]
    assert told["tokenizers"][0]["replica"] == "tokenizer-1"


async def test_the_caches_tell_what_they_hold_and_how_often_that_was_wanted() -> None:
    service = FakeService()
    async with service.client() as http:
        empty = (await http.get("/v1/cache")).json()
        for texts in (["a", "b"], ["a"], ["a"]):
            await http.post("/v1/embeddings", json={"input": texts})
        await asyncio.sleep(0.01)
        told = (await http.get("/v1/cache")).json()

    assert empty["near"][0]["hit_ratio"] is empty["shards"][0]["hit_ratio"] is None
    assert told["near"][0]["replica"] == "local"
    assert (told["near"][0]["hits"], told["near"][0]["misses"]) == (2, 2)
    assert told["near"][0]["hit_ratio"] == 0.5
    assert (told["shards"][0]["hits"], told["shards"][0]["misses"]) == (0, 2)
    assert told["shards"][0]["entries"] == 2
    assert told["shards"][0]["shard"] == "EmbeddingCache-0"


async def test_clearing_forgets_every_vector_everywhere() -> None:
    service = FakeService()
    await _embed(service, "a", "b")
    await asyncio.sleep(0.01)
    async with service.client() as http:
        cleared = await http.delete("/v1/cache")
        told = (await http.get("/v1/cache")).json()
        again = await http.delete("/v1/cache")
    await _embed(service, "a")

    assert (cleared.status_code, cleared.json()) == (200, {"cleared": 4})
    assert again.json() == {"cleared": 0}
    assert told["near"][0]["entries"] == told["shards"][0]["entries"] == 0
    assert told["near"][0]["bytes"] == told["shards"][0]["bytes"] == 0
    assert len(service.encoder.calls) == 2, "it is computed again"


async def test_forgetting_one_model_leaves_the_others() -> None:
    service = FakeService({"name": ALIAS}, {"name": "/srv/own"})
    async with service.client() as http:
        for model in (ALIAS, "own"):
            await http.post("/v1/embeddings", json={"input": ["a", "b"], "model": model})
        # Inserts follow each other with a pause.
        await asyncio.sleep(2 * INSERTS_PAUSE_S)
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
    await _embed(service, "a")
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
