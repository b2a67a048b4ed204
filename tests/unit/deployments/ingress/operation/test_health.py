"""Alive is not ready: what each says, and what the application says of itself."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from embedder.cache.circuit import FAILURES
from embedder.errors import ModelNotFound, StageUnavailable
from tests.unit.deployments.ingress.fake_service import ALIAS, FakeService

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
        "stages": dict.fromkeys(STAGES.values(), "ready"),
    }


async def test_an_ingress_that_would_let_requests_wait_for_a_model_is_not_ready() -> None:
    service = FakeService()
    service.encoder.gates[ALIAS] = gate = asyncio.Event()
    loading = await _get("/readyz", service)
    gate.set()
    await service.model(None)
    loaded = await _get("/readyz", service)

    assert (loading.status_code, loaded.status_code) == (503, 200)
    assert loading.json()["stages"]["Ingress"] == "the model is being loaded"


async def test_an_ingress_says_that_its_model_cannot_be_loaded_and_not_why() -> None:
    service = FakeService()
    service.encoder.missing.add(ALIAS)
    with pytest.raises(ModelNotFound):
        await service.model(None)
    response = await _get("/readyz", service)

    assert response.status_code == 503
    assert response.json()["stages"]["Ingress"] == "the model cannot be loaded; the log says why"
    assert "secret" not in response.text


@pytest.mark.parametrize("broken", ["tokenizer", "encoder", "index"])
@pytest.mark.parametrize("fault", [StageUnavailable("it", "secret"), ValueError("secret")])
async def test_a_service_with_a_broken_stage_is_not_ready_and_names_it(
    broken: str, fault: Exception
) -> None:
    service = await _connected()
    service.handles[broken].fault = fault
    response = await _get("/readyz", service)
    stages = response.json()["stages"]

    assert response.status_code == 503
    assert response.json()["ready"] is False
    assert [name for name, state in stages.items() if state != "ready"] == [STAGES[broken]]
    assert "secret" not in response.text


@pytest.mark.parametrize("fault", [StageUnavailable("it", "secret"), ValueError("secret")])
async def test_a_service_without_its_cache_is_ready_and_says_so(fault: Exception) -> None:
    service = await _connected()
    service.handles["cache"].fault = fault
    response = await _get("/readyz", service)
    stages = response.json()["stages"]

    assert (response.status_code, response.json()["ready"]) == (200, True)
    assert stages["EmbeddingCache-0"].startswith("answers are computed without it: ")
    assert [name for name, state in stages.items() if state != "ready"] == ["EmbeddingCache-0"]
    assert "secret" not in response.text


async def test_a_cache_that_is_left_alone_is_told_even_where_it_answers_again() -> None:
    service = await _connected()
    service.handles["cache"].fault = ValueError("gone")
    async with service.client() as http:
        for number in range(FAILURES):
            await http.post("/v1/embeddings", json={"input": f"text {number}"})
    service.handles["cache"].fault = None
    open_state = (await _get("/readyz", service)).json()["stages"]["EmbeddingCache-0"]

    assert "left alone" in open_state


async def test_a_service_asks_again_each_time_whether_it_is_ready() -> None:
    service = await _connected()
    states = [(await _get("/readyz", service)).status_code]
    service.handles["encoder"].fault = ValueError("gone")
    states.append((await _get("/readyz", service)).status_code)
    service.handles["encoder"].fault = None
    states.append((await _get("/readyz", service)).status_code)

    assert states == [200, 503, 200]


async def test_the_ingress_is_alive_whatever_the_stages_do() -> None:
    service = await _connected()
    for handle in service.handles.values():
        handle.fault = ValueError("gone")
    response = await _get("/healthz", service)

    assert (response.status_code, response.json()) == (200, {"status": "alive"})
