"""If a process is killed or hangs under load, requests take longer, and none fails for good."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import httpx
import pytest

from tests.cluster.service import RunningService

RATE_PER_S = 20
AFTER_KILL_S = 5.0 if "TEST_KILLS" in os.environ else 2.0
"""Longer than callers need to notice a lost replica. For its replacement, which takes longer,
requests wait."""

BACK_S = 120.0
HAPROXY_BACK_S = 15.0
"""Three times what it may take on a machine of our own."""

PATIENCE_S = 120.0
"""How long a client repeats a request that is refused."""

TEXTS = 32
"""So many texts are more than an ingress encodes by itself while others wait."""


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


@pytest.mark.skipif("TEST_KILLS" not in os.environ, reason="takes half a minute; TEST_KILLS=2")
async def test_no_request_fails_when_an_encoder_hangs(service: RunningService) -> None:
    """Other replicas answer, and Serve replaces the one that hangs."""
    await _until_replicas(service, 2)
    hung, _ = service.replicas("Encoder")
    async with httpx.AsyncClient(base_url=service.url, timeout=90) as client:
        os.kill(hung, signal.SIGSTOP)
        statuses = await asyncio.gather(*(_many(client, number) for number in range(8)))
    await _until_replicas(service, 2, without=hung)

    assert statuses == [200] * 8


async def test_a_killed_haproxy_is_back_soon_and_tells_clients_to_come_back(
    service: RunningService,
) -> None:
    for pid in service.named("haproxy"):  # after a reload, an old one may still answer requests
        os.kill(pid, signal.SIGKILL)
    began, refused, statuses = time.monotonic(), 0, set()
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        while 200 not in statuses:
            assert time.monotonic() < began + HAPROXY_BACK_S
            try:
                statuses.add(await _status(client, "is HAProxy back?"))
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                refused += 1
            await asyncio.sleep(0.05)

    assert refused > 0
    assert statuses <= {200, 503}


async def _many(client: httpx.AsyncClient, number: int) -> int:
    return await _status(client, [f"while one hangs, {number}, {text}" for text in range(TEXTS)])


async def _status(client: httpx.AsyncClient, texts: str | list[str]) -> int:
    """Return the status of the answer; a refused request is sent again at the stated time.

    Without an encoder, and on a slow machine, more waits than a request may wait for.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        answer = await client.post("/v1/embeddings", json={"input": texts})
        if answer.status_code != httpx.codes.TOO_MANY_REQUESTS or time.monotonic() > deadline:
            return answer.status_code
        await asyncio.sleep(float(answer.headers["retry-after"]))


async def _until_replicas(service: RunningService, count: int, without: int = 0) -> None:
    """Wait until so many encoders answer.

    Serve waits longer before it replaces a replica that was killed before its first answer.
    """
    deadline = time.monotonic() + BACK_S
    async with httpx.AsyncClient(base_url=service.url, timeout=BACK_S) as client:
        while (
            len(found := service.replicas("Encoder")) != count
            or without in found
            or await _answering(client) != count
        ):
            assert time.monotonic() < deadline, "the encoders have not come back"
            await asyncio.sleep(0.2)


async def _answering(client: httpx.AsyncClient) -> int:
    stats = await client.get("/v1/stats")
    return sum("replica" in one for one in stats.json().get("encoders", ()))
