"""Liveness and readiness, and what they report of the stages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from deployments.ingress.service.readiness import KEEP_S, KEEP_UNREADY_S, Capability
from embedder.cache.store.circuit_breaker import FAILURES
from embedder.core.errors import ModelNotFound, StageUnavailable
from embedder.index.contract.health import IndexHealth
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService
from tests.unit.deployments.local_handle import LocalHandle
from tests.unit.virtual_time import VirtualTime

STAGES = {
    "ingress": "Ingress",
    "tokenizer": "Tokenizer",
    "encoder": "Encoder",
    "cache": "EmbeddingCache-0",
    "index": "VectorIndex-0",
}


async def _get(path: str, service: FakeService) -> httpx.Response:
    async with service.client() as http:
        return await http.get(path)


def _count(handle: LocalHandle, name: str, asked: list[str], patch: pytest.MonkeyPatch) -> None:
    answer = handle._answer

    async def counted(method: str, arguments: Sequence[Any]) -> Any:
        asked.append(name)
        return await answer(method, arguments)

    patch.setattr(handle, "_answer", counted)


async def _connected() -> FakeService:
    """Return a service that has connected to its model."""
    service = FakeService()
    await service.model(None)
    return service


async def test_a_service_whose_stages_all_answer_is_ready() -> None:
    response = await _get("/readyz", await _connected())

    assert response.status_code == 200
    assert response.json() == {
        "ready": True,
        "capabilities": {"embeddings": "ready", "index": "ready"},
        "stages": dict.fromkeys(STAGES.values(), "ready"),
    }


async def test_an_ingress_whose_model_has_not_loaded_is_not_ready() -> None:
    service = FakeService()
    service.encoder.releases[ALIAS] = release = asyncio.Event()
    loading = await _get("/readyz", service)
    release.set()
    await service.model(None)
    loaded = await _get("/readyz", service)

    assert (loading.status_code, loaded.status_code) == (503, 200)
    assert loading.json()["stages"]["Ingress"] == "the model is being loaded"


async def test_readiness_reports_a_failed_load_without_its_reason() -> None:
    service = FakeService()
    service.encoder.missing.add(ALIAS)
    with pytest.raises(ModelNotFound):
        await service.model(None)
    response = await _get("/readyz", service)

    assert response.status_code == 503
    assert response.json()["stages"]["Ingress"] == "the model cannot be loaded; the log says why"
    assert "secret" not in response.text


@pytest.mark.parametrize("broken", ["tokenizer", "encoder"])
@pytest.mark.parametrize(
    ("fault", "level"),
    [(StageUnavailable("it", "secret"), "waiting"), (ValueError("secret"), "failed")],
)
async def test_a_broken_stage_fails_its_capability_and_is_named(
    broken: str, fault: Exception, level: str
) -> None:
    service = await _connected()
    service.handles[broken].fault = fault
    response = await _get("/readyz", service)
    stages = response.json()["stages"]

    assert response.status_code == 503
    assert response.json()["ready"] is False
    assert response.json()["capabilities"] == {"embeddings": level, "index": "ready"}
    assert [name for name, state in stages.items() if state != "ready"] == [STAGES[broken]]
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("?require=embeddings", 200),
        ("?require=index", 503),
        ("?require=embeddings&require=index", 503),
        ("?require=vectors", 400),
    ],
)
async def test_a_probe_selects_the_capabilities_that_it_needs(query: str, status: int) -> None:
    service = await _connected()
    service.handles["index"].fault = StageUnavailable("VectorIndex-0", "gone")
    response = await _get(f"/readyz{query}", service)

    assert response.status_code == status
    if status != 400:
        assert response.json()["ready"] == (status == 200)
        assert response.json()["capabilities"] == {"embeddings": "ready", "index": "waiting"}


@pytest.mark.parametrize(
    ("health", "level", "status"),
    [
        (IndexHealth("ready", None), "ready", 200),
        (IndexHealth("degraded", "collection 'a' is damaged"), "degraded", 200),
        (IndexHealth("read_only", "no space is left"), "degraded", 200),
        (IndexHealth("failed", "restore it"), "failed", 503),
        (IndexHealth("unavailable", "no database"), "failed", 503),
    ],
)
async def test_a_damaged_index_is_named_and_embeddings_stay_ready(
    health: IndexHealth, level: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await _connected()

    async def degraded() -> IndexHealth:
        return health

    monkeypatch.setattr(service.handles["index"]._stage, "health", degraded)
    answers = [
        await _get(path, service) for path in ("/readyz", "/health", "/readyz?require=index")
    ]

    assert [answer.status_code for answer in answers] == [200, 200, status]
    assert answers[0].json()["capabilities"] == {"embeddings": "ready", "index": level}
    assert (health.problem or "ready") in answers[0].json()["stages"]["VectorIndex-0"]


@pytest.mark.parametrize("fault", [StageUnavailable("it", "secret"), ValueError("secret")])
async def test_a_service_without_its_cache_is_ready_and_reports_it(fault: Exception) -> None:
    service = await _connected()
    service.handles["cache"].fault = fault
    response = await _get("/readyz", service)
    stages = response.json()["stages"]

    assert (response.status_code, response.json()["ready"]) == (200, True)
    assert stages["EmbeddingCache-0"].startswith("answers are computed without it: ")
    assert [name for name, state in stages.items() if state != "ready"] == ["EmbeddingCache-0"]
    assert "secret" not in response.text


async def test_an_open_circuit_is_reported_even_if_the_cache_answers_again() -> None:
    service = await _connected()
    service.handles["cache"].fault = ValueError("gone")
    async with service.client() as http:
        for number in range(FAILURES):
            await http.post("/v1/embeddings", json={"input": f"text {number}"})
    service.handles["cache"].fault = None
    open_state = (await _get("/readyz", service)).json()["stages"]["EmbeddingCache-0"]

    assert "left alone" in open_state


async def test_probes_within_a_second_share_one_call_to_each_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each probe costs the stages nothing, however many load balancers there are."""
    service = await _connected()
    asked: list[str] = []
    for name, handle in service.handles.items():
        _count(handle, name, asked, monkeypatch)
    clock = VirtualTime(monkeypatch)
    states = []
    for seconds in (0.0, KEEP_S / 2, KEEP_S):
        clock.stand_still(seconds)
        answers = await asyncio.gather(
            *(_get(path, service) for path in ("/readyz", "/health") * 5)
        )
        states.append({answer.status_code for answer in answers})
        service.handles["encoder"].fault = ValueError("gone")

    assert states == [{200}, {200}, {503}]
    assert Counter(asked) == dict.fromkeys(("tokenizer", "encoder", "cache", "index"), 2)


async def test_a_stage_that_is_not_ready_is_asked_again_sooner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = await _connected()
    service.handles["tokenizer"].fault = ValueError("gone")
    clock = VirtualTime(monkeypatch)
    statuses = [(await _get("/readyz", service)).status_code]
    service.handles["tokenizer"].fault = None
    for seconds in (KEEP_UNREADY_S * 0.9, KEEP_UNREADY_S * 0.2):
        clock.stand_still(seconds)
        statuses.append((await _get("/readyz", service)).status_code)

    assert statuses == [503, 503, 200]


async def test_a_cancelled_probe_does_not_cancel_the_shared_call() -> None:
    service = await _connected()
    first = asyncio.ensure_future(service.readiness())
    second = asyncio.ensure_future(service.readiness())
    await asyncio.sleep(0)
    first.cancel()

    assert (await second).has(list(Capability))


async def test_a_probe_computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    service = await _connected()
    calls: list[str] = []
    monkeypatch.setattr(service.encoder, "encode", lambda *_: calls.append("encode"))

    assert (await _get("/readyz", service)).status_code == 200
    assert calls == []


async def test_the_ingress_is_alive_if_stages_fail() -> None:
    service = await _connected()
    for handle in service.handles.values():
        handle.fault = ValueError("gone")
    response = await _get("/healthz", service)

    assert (response.status_code, response.json()) == (200, {"status": "alive"})
