"""A thousand clients that disconnect during a request leave no work behind."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from tests.cluster.raw_http import chunked, post
from tests.cluster.service import RunningService

CLIENTS = 1000
AT_ONCE = 200
SHARED = 50
WITHIN_S = 30.0
TASKS_MORE = 5
ABORT = struct.pack("ii", 1, 0)
"""With this as SO_LINGER, closing resets the connection instead of ending it."""


async def test_disconnected_clients_leave_nothing_behind_and_delay_no_others(
    service: RunningService,
) -> None:
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        before = await _tasks(client)
        slots = asyncio.Semaphore(AT_ONCE)
        gone = asyncio.gather(*(_hang_up(service.url, number, slots) for number in range(CLIENTS)))
        await asyncio.sleep(0.2)  # some clients compute texts that other clients also request
        answers = await asyncio.gather(*(_answer(client, _shared(at)) for at in range(SHARED)))
        await gone
        left = await _until_calm(client, before, time.monotonic() + WITHIN_S)

    assert [answer.status_code for answer in answers] == [200] * SHARED
    vectors = np.array([answer.json()["data"][0]["embedding"] for answer in answers])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert _is_calm(left, before), (before, left)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_text_is_answered_although_its_first_client_disconnects(
    service: RunningService, reset: bool
) -> None:
    """One computation serves both, and it belongs to neither."""
    slots = asyncio.Semaphore(1)
    statuses = []
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        await client.get("/healthz")  # connected, so that the second request follows quickly
        for number in range(10):
            text = f"long text {number} that two clients ask for, reset: {reset} " * 100
            sending = _send(service.url, post(_body(text)), 0.02, slots, reset=reset)
            gone = asyncio.create_task(sending)
            await asyncio.sleep(0.005)
            statuses.append((await _answer(client, text)).status_code)
            await gone

    assert statuses == [200] * 10


async def _answer(client: httpx.AsyncClient, text: str) -> httpx.Response:
    """Request a text, and repeat the request after each ``Retry-After``."""
    while True:
        answer = await client.post("/v1/embeddings", json={"input": text})
        if answer.status_code != 429:
            return answer
        await asyncio.sleep(float(answer.headers["retry-after"]))


async def _hang_up(url: str, number: int, slots: asyncio.Semaphore) -> None:
    """Be one client of the thousand: each sends another part, and waits another while."""
    text = _shared(number) if number % 4 == 0 else f"client {number} has gone " * (number % 60 + 1)
    body = _body(text)
    whole = post(body)
    part = (
        whole,
        whole[: len(whole) - len(body) // 2],
        whole[: len(whole) - len(body)],
        chunked(body[: len(body) // 2]),
    )[number // 4 % 4]
    wait_s = random.Random(number).choice((0.0, 0.005, 0.05, 0.2))
    await _send(url, part, wait_s, slots, reset=number % 3 == 0)


async def _send(
    url: str, request: bytes, wait_s: float, slots: asyncio.Semaphore, *, reset: bool
) -> None:
    address = urlsplit(url)
    async with slots:
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        if reset:
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        writer.write(request)
        await writer.drain()
        await asyncio.sleep(wait_s)
        writer.close()


async def _tasks(client: httpx.AsyncClient) -> dict[str, int]:
    """Return how many tasks each replica of the ingress has; several answers reach them all."""
    answers = [await _stats(client) for _ in range(10)]
    return {stats["replica"]: stats["tasks"] for stats in answers}


async def _until_calm(
    client: httpx.AsyncClient, tasks: dict[str, int], deadline: float
) -> dict[str, Any]:
    """Return the stats that are calm for the fifth time in a row, else the last in time."""
    calm = 0
    while True:
        stats = await _stats(client)
        calm = calm + 1 if _is_calm(stats, tasks) else 0
        if calm == 5 or time.monotonic() > deadline:
            return stats
        await asyncio.sleep(0.1)


def _is_calm(stats: dict[str, Any], tasks: dict[str, int]) -> bool:
    """Say whether a replica does nothing but answer the one who asks.

    One that was started meanwhile has no number of tasks to come back to.
    """
    return bool(
        stats["in_flight"] <= 1
        and stats["in_flight_inputs"] == 0
        and not any(stats["admission"]["queued_tokens"].values())
        and stats["tasks"] <= tasks.get(stats["replica"], stats["tasks"]) + TASKS_MORE
    )


async def _stats(client: httpx.AsyncClient) -> dict[str, Any]:
    """Return the stats of an ingress replica, a different one each time."""
    answer = await client.get("/v1/stats", headers={"connection": "close"})
    assert answer.status_code == 200, answer.text
    stats: dict[str, Any] = answer.json()["ingress"]
    return stats


def _shared(number: int) -> str:
    return f"text {number % SHARED} of those that several clients ask for " * 3


def _body(text: str) -> bytes:
    return json.dumps({"input": text}).encode()
