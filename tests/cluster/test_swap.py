"""A name is switched to another model under load: no request fails, no vectors are mixed."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from embedder.core.types import Vectors
from tests.cluster.revisions import make_revisions, vectors_of
from tests.cluster.service import RunningService, write_config

RATE_PER_S = 20
PATIENCE_S = 60.0
IN_A_ROW = 20
"""So many answers of one model in a row, and every ingress has it."""

TEXTS = [f"text number {number} about {number * 7919 % 1000} things" for number in range(40)]
MOVED = len(TEXTS)
"""The load ends after so many answers of the second model, which has then computed every text."""


@pytest.fixture(scope="module")
def revisions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two directories: the default model, and the same with other weights."""
    return make_revisions(tmp_path_factory.mktemp("revisions"))


@pytest.fixture(scope="module")
def expected(revisions: list[Path]) -> dict[str, Vectors]:
    """Return the vectors of the texts from each model, computed without the service."""
    return vectors_of(revisions, TEXTS)


async def test_a_name_moves_to_another_model_without_a_failed_request(
    service: RunningService, revisions: list[Path], expected: dict[str, Vectors]
) -> None:
    first, second = revisions
    deployed = [await _deploy(service, first)]
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        await _until_answers_are(client, first.name, expected)
        requests: list[asyncio.Task[tuple[float, str]]] = []
        began = time.monotonic()
        for number in range(int(RATE_PER_S * PATIENCE_S)):
            if number == RATE_PER_S * 2:
                deployed.append(await _deploy(service, second))
            requests.append(asyncio.create_task(_whose(client, number % len(TEXTS), expected)))
            await asyncio.sleep(max(0.0, began + number / RATE_PER_S - time.monotonic()))
            done = [request.result()[1] for request in requests if request.done()]
            if done.count(second.name) >= MOVED:
                break
        answers = [whose for _, whose in sorted(await asyncio.gather(*requests))]
        await _until_answers_are(client, second.name, expected)

    assert set(answers) <= {first.name, second.name}, "each vector is wholly one model's"
    assert answers[0] == first.name
    switched = answers.index(second.name) if second.name in answers else len(answers)
    # Two concurrent requests may be answered in either order.
    assert set(answers[:switched]) == {first.name}
    assert [process.wait(30) for process in deployed] == [0, 0]


async def test_a_model_that_cannot_be_loaded_leaves_the_rest_serving(
    service: RunningService, tmp_path: Path
) -> None:
    directory = tmp_path / "broken"
    directory.mkdir()
    (directory / "evil.py").write_text("raise SystemExit\n")
    process = await _deploy(service, directory)
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            states = {one["id"]: one["state"] for one in await _models(client)}
            if states.get("swapped") == "failed":
                break
            assert time.monotonic() < deadline, states
            await asyncio.sleep(0.5)
        response = await client.post("/v1/embeddings", json={"input": "still here"})

    assert states["all-MiniLM-L6-v2"] == "ready"
    assert response.status_code == 200
    assert process.wait(30) == 0


async def _deploy(service: RunningService, directory: Path) -> subprocess.Popen[bytes]:
    model = {"name": str(directory), "alias": "swapped", "pinned": True}
    config = await asyncio.to_thread(write_config, service.folder, model)
    return service.deploy(config)


async def _until_answers_are(
    client: httpx.AsyncClient, name: str, expected: dict[str, Vectors]
) -> None:
    deadline = time.monotonic() + PATIENCE_S
    in_a_row = 0
    while in_a_row < IN_A_ROW:
        _, whose = await _whose(client, 0, expected)
        in_a_row = in_a_row + 1 if whose == name else 0
        if not in_a_row:
            assert time.monotonic() < deadline, "the name still has its old model"
            await asyncio.sleep(0.2)


async def _models(client: httpx.AsyncClient) -> list[dict[str, str]]:
    models: list[dict[str, str]] = (await client.get("/v1/models")).json()["data"]
    return models


async def _whose(
    client: httpx.AsyncClient, row: int, expected: dict[str, Vectors]
) -> tuple[float, str]:
    """Return when the request was sent that has been answered, and by which model, or with what.

    What waited for a busy machine comes all at once: who is told to come back does so, once.
    """
    body = {"input": TEXTS[row], "model": "swapped"}
    sent_s = time.monotonic()
    response = await client.post("/v1/embeddings", json=body)
    if response.status_code == 429:
        await asyncio.sleep(float(response.headers["retry-after"]))
        sent_s = time.monotonic()
        response = await client.post("/v1/embeddings", json=body)
    if response.status_code != 200:
        return sent_s, f"{response.status_code}: {response.text}"
    vector = np.array(response.json()["data"][0]["embedding"])
    near = [name for name, vectors in expected.items() if float(vector @ vectors[row]) > 0.999]
    return sent_s, near[0] if near else "neither"
