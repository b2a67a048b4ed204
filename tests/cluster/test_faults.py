"""If encoders are killed under load, requests take longer, and none fails."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import httpx
import pytest

from tests.cluster.service import RunningService

RATE_PER_S = 20
AFTER_KILL_S = 8.0


@pytest.mark.parametrize("killed", [1, 2])
async def test_no_request_fails_when_encoders_are_killed(
    service: RunningService, killed: int
) -> None:
    """With one of two killed the other serves; with both, requests wait for the replacement."""
    await _until_replicas(service, 2)
    victims = service.replicas("Encoder")[:killed]
    async with httpx.AsyncClient(base_url=service.url, timeout=90) as client:
        requests: list[asyncio.Task[int]] = []
        began = time.monotonic()
        for number in range(int(RATE_PER_S * (1 + AFTER_KILL_S))):
            if number == RATE_PER_S:
                for pid in victims:
                    os.kill(pid, signal.SIGKILL)
            requests.append(asyncio.create_task(_status(client, f"{killed} killed, {number}")))
            await asyncio.sleep(max(0.0, began + number / RATE_PER_S - time.monotonic()))
        statuses = await asyncio.gather(*requests)

    assert len(victims) == killed
    assert set(statuses) == {200}
    await _until_replicas(service, 2)
    assert not set(victims) & set(service.replicas("Encoder"))


async def _status(client: httpx.AsyncClient, text: str) -> int:
    return (await client.post("/v1/embeddings", json={"input": text})).status_code


async def _until_replicas(service: RunningService, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(service.replicas("Encoder")) != count:
        assert time.monotonic() < deadline, "the encoders have not come back"
        await asyncio.sleep(0.2)
