"""Operators get the true numbers of the stages that answer."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from deployments.encoder.colocated import ColocatedEncoder
from deployments.ingress.service import connection
from deployments.ingress.service.numeric_work import LARGE
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.batching.stages import BatchingEncoder
from embedder.cache.slab import OVERHEAD_BYTES
from embedder.core.errors import Overloaded, StageUnavailable
from embedder.core.types import Encoded, TokenBatch
from tests.unit.deployments.ingress.fake_service import ALIAS, CACHE_BYTES, MODEL, FakeService
from tests.unit.virtual_time import VirtualTime
from tests.unit.waiting import LONG_S

STAGES = {
    "encoder": "encoders",
    "tokenizer": "tokenizers",
    "cache": "caches",
    "index": "collections",
}


COUNTERS: dict[str, Any] = {
    "replica": "local",
    "in_flight": 1,
    "answers": {"200": 1, "400": 1},
    "abandoned": 0,
    "in_flight_inputs": 0,
    "admission": {
        "queued_tokens": {"interactive": 0, "bulk": 0},
        "tokens_per_s": None,
        "predicted_wait_s": 0.0,
        "admitted": 1,
        "refused": 0,
        "returned": 0,
        "reserved_tokens": 0,
    },
    "queues": [
        {"name": name, "waiting": 0, "running": 0, "refused": 0, "oldest_s": 0.0}
        for name in ("large-bodies", "numeric-small", "numeric-large", "search", "tokenizer")
    ],
    "local_cache": {
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
    "shards": [{"name": "EmbeddingCache-0", "circuit": "closed", "failures": 0, "opened": 0}],
}
"""The counters of an ingress after one answer with two vectors and one refusal."""


async def _stats(service: FakeService) -> Any:
    async with service.client() as http:
        response = await http.get("/v1/stats")
    return response.raise_for_status().json()


async def test_the_ingress_that_answers_reports_its_counters() -> None:
    service = FakeService()
    await service.post_texts("a", "b")
    await service.post_texts("b", "")
    answer = (await _stats(service))["ingress"]

    assert answer.pop("uptime_s") > 0
    assert answer.pop("tasks") >= 1
    assert answer["local_cache"].pop("age_s") >= 0
    # Those that arrived a moment ago are counted too.
    assert answer["shards"][0].pop("pending") <= 1
    assert answer == COUNTERS


async def test_every_queue_reports_waiting_running_and_refused_work() -> None:
    service, release = FakeService(), threading.Event()
    numeric_work = service.numeric_work
    with numeric_work.reserve(10**12, "runs") as running, numeric_work.reserve(10**12, "waits"):
        task = asyncio.ensure_future(running.run(lambda: release.wait(LONG_S)))
        with pytest.raises(Overloaded), numeric_work.reserve(LARGE, "refused"):
            pass
        await asyncio.sleep(0)
        during = await _stats(service)
        release.set()
        await task
    after = await _stats(service)

    assert during["ingress"]["queues"][2].pop("oldest_s") > 0
    assert after["ingress"]["queues"][2].pop("oldest_s") == 0
    large = {"name": "numeric-large", "waiting": 1, "running": 1, "refused": 1}
    assert during["ingress"]["queues"][2] == large
    assert after["ingress"]["queues"][2] == {**large, "waiting": 0, "running": 0}
    (shard,) = during["indexes"]
    assert [one["name"] for one in shard["queues"]] == [
        f"index-{kind}" for kind in ("search", "stale", "read", "scan", "write", "copy")
    ]


@pytest.mark.usefixtures("virtual_time")
async def test_inputs_in_progress_are_reported() -> None:
    service = FakeService()
    await service.post_texts("a")
    release = asyncio.Event()
    encode = service.encoder.encode

    async def wait(*args: Any) -> Any:
        await release.wait()
        return await encode(*args)

    service.encoder.encode = wait  # type: ignore[assignment, method-assign]
    embedding = asyncio.ensure_future(service.post_texts("b", "c", "dd"))
    await asyncio.sleep(0.05)
    during = (await _stats(service))["ingress"]
    release.set()
    await embedding
    after = (await _stats(service))["ingress"]

    assert (during["in_flight_inputs"], during["in_flight"]) == (3, 2)
    assert during["admission"]["queued_tokens"]["interactive"] > 0
    assert (after["in_flight_inputs"], after["in_flight"]) == (0, 1)


async def test_the_served_models_are_reported() -> None:
    service = FakeService({"name": ALIAS}, {"name": "/srv/secret/own"})
    service.encoder.missing.add("/srv/secret/own")
    await service.post_texts("a")
    async with service.client() as http:
        await http.post("/v1/embeddings", json={"input": "a", "model": "own"})
    answer = await _stats(service)

    assert answer["models"] == [
        {"name": ALIAS, "state": "ready", "problem": None, "waiting": 0, "colocated": None},
        {
            "name": "own",
            "state": "failed",
            "problem": "it could not be loaded; the log says why",
            "waiting": 0,
            "colocated": None,
        },
    ]
    assert "secret" not in str(answer)


async def test_batches_of_the_ingress_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(tokens: TokenBatch, context: BatchContext) -> Encoded:
        return Encoded(np.ones((len(tokens), MODEL.width), np.float32), 0.0, 0.0)

    def of(remote: BatchingEncoder, *_: object) -> ColocatedEncoder:
        return ColocatedEncoder(remote, BatchingEncoder(run, budget=Budget(64)), "colocated")

    monkeypatch.setattr(connection, "load_unmeasured", lambda *_: "loaded")
    monkeypatch.setattr(ColocatedEncoder, "of", of)
    service = FakeService(encoder={"placement": "colocated"})
    await service.post_texts("a", "b")
    await service.post_texts("c")
    (model,) = (await _stats(service))["models"]

    assert service.encoder.calls == []
    here = model["colocated"]
    assert (here["batches"], here["items"], here["budget_tokens"]) == (2, 3, 64)


async def test_every_replica_reports_its_models() -> None:
    service = FakeService()
    await service.post_texts("a")
    answer = await _stats(service)
    (encoder,), (tokenizer,) = answer["encoders"], answer["tokenizers"]
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
    assert "secret" not in str(answer)


async def test_the_shared_cache_and_the_collections_are_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = FakeService()
    async with service.client() as http:
        await http.put("/v1/collections/plane", json={"metric": "l2"})
        await http.post("/v1/collections/plane/points", json={"points": [{"id": "a", "text": "b"}]})
    # Only this wait: the index writes in threads of its own, for which virtual time does not stop.
    with monkeypatch.context() as patch:
        VirtualTime(patch)
        await asyncio.sleep(0.01)
    answer = await _stats(service)

    assert answer["collections"] == [
        {"name": "plane", "metric": "l2", "width": 4, "count": 1, "sequence": 1}
    ]
    assert (answer["caches"][0]["entries"], answer["caches"][0]["misses"]) == (1, 1)
    assert answer["caches"][0]["max_bytes"] == CACHE_BYTES


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
    answer = await _stats(service)

    assert answer[STAGES[broken]] in ({"problem": says}, [{"problem": says}])
    assert [name for name in STAGES.values() if says in str(answer[name])] == [STAGES[broken]]
    assert "secret" not in str(answer)


@pytest.mark.usefixtures("virtual_time")
async def test_a_stage_that_hangs_is_not_waited_for() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    service = FakeService()
    service.encoder.stats = hang  # type: ignore[assignment, method-assign]
    answer = await _stats(service)

    assert answer["encoders"] == [{"problem": "the deadline passed while waiting for the Encoder"}]
    assert answer["tokenizers"][0]["replica"] == "tokenizer-1"
