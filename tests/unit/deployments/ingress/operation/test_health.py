"""Alive is not ready: what each says, and what the application says of itself."""

from __future__ import annotations

import httpx
import pytest

from embedder.cache.circuit import FAILURES
from embedder.errors import StageUnavailable
from tests.unit.deployments.ingress.fake_service import FakeService

STAGES = {
    "tokenizer": "Tokenizer",
    "encoder": "Encoder",
    "cache": "EmbeddingCache-0",
    "index": "VectorIndex-0",
}


async def _get(path: str, service: FakeService | None = None) -> httpx.Response:
    async with (service or FakeService()).client() as http:
        return await http.get(path)


async def test_a_service_whose_stages_all_answer_is_ready() -> None:
    response = await _get("/readyz")

    assert response.status_code == 200
    assert response.json() == {
        "ready": True,
        "stages": dict.fromkeys(STAGES.values(), "ready"),
    }


@pytest.mark.parametrize("broken", ["tokenizer", "encoder", "index"])
@pytest.mark.parametrize("fault", [StageUnavailable("it", "secret"), ValueError("secret")])
async def test_a_service_with_a_broken_stage_is_not_ready_and_names_it(
    broken: str, fault: Exception
) -> None:
    service = FakeService()
    service.handles[broken].fault = fault
    response = await _get("/readyz", service)
    stages = response.json()["stages"]

    assert response.status_code == 503
    assert response.json()["ready"] is False
    assert [name for name, state in stages.items() if state != "ready"] == [STAGES[broken]]
    assert "secret" not in response.text


@pytest.mark.parametrize("fault", [StageUnavailable("it", "secret"), ValueError("secret")])
async def test_a_service_without_its_cache_is_ready_and_says_so(fault: Exception) -> None:
    service = FakeService()
    service.handles["cache"].fault = fault
    response = await _get("/readyz", service)
    stages = response.json()["stages"]

    assert (response.status_code, response.json()["ready"]) == (200, True)
    assert stages["EmbeddingCache-0"].startswith("answers are computed without it: ")
    assert [name for name, state in stages.items() if state != "ready"] == ["EmbeddingCache-0"]
    assert "secret" not in response.text


async def test_a_cache_that_is_left_alone_is_told_even_where_it_answers_again() -> None:
    service = FakeService()
    service.handles["cache"].fault = ValueError("gone")
    async with service.client() as http:
        for number in range(FAILURES):
            await http.post("/v1/embeddings", json={"input": f"text {number}"})
    service.handles["cache"].fault = None
    open_state = (await _get("/readyz", service)).json()["stages"]["EmbeddingCache-0"]

    assert "left alone" in open_state


async def test_a_service_asks_again_each_time_whether_it_is_ready() -> None:
    service = FakeService()
    states = [(await _get("/readyz", service)).status_code]
    service.handles["encoder"].fault = ValueError("gone")
    states.append((await _get("/readyz", service)).status_code)
    service.handles["encoder"].fault = None
    states.append((await _get("/readyz", service)).status_code)

    assert states == [200, 503, 200]


async def test_the_ingress_is_alive_whatever_the_stages_do() -> None:
    service = FakeService()
    for handle in service.handles.values():
        handle.fault = ValueError("gone")
    response = await _get("/healthz", service)

    assert (response.status_code, response.json()) == (200, {"status": "alive"})
