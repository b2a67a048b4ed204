"""If a cache shard is killed under load, no request fails and no vector is wrong.

``TEST_KILLS=20`` kills it as often.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.cluster.service import RunningService

KILLS = int(os.environ.get("TEST_KILLS", "1"))
BEFORE_S = 3.0
"""From the beginning to the first kill: longer than what a kill may take with it."""

BETWEEN_KILLS_S = 7.0
BACK_S = 60.0
"""A shard starts within a second or two; a busy machine may take many times as long."""

LOSS_S = 1.0 + 0.5
"""What a kill may take with it: the autosave interval and half a second."""

RATE_PER_S = 10
SHARD = "EmbeddingCache-0"
TEXTS = [f"asked for again and again, {number}" for number in range(20)]


@pytest.mark.skipif("TEST_KILLS" not in os.environ, reason="takes half a minute; TEST_KILLS=1")
async def test_no_request_fails_and_no_vector_is_wrong_when_the_cache_is_killed(
    service: RunningService,
) -> None:
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        first = [await _embed(client, text) for text in TEXTS]
        with _load(service) as load:
            assert load.stdin is not None
            stop = asyncio.Event()
            asking = asyncio.create_task(_ask(client, stop))
            for number in range(KILLS):
                await asyncio.sleep(BETWEEN_KILLS_S if number else BEFORE_S)
                (process,) = service.replicas(SHARD)
                load.stdin.write(f"{time.time()}\n")
                load.stdin.flush()
                os.kill(process, signal.SIGKILL)
            await asyncio.sleep(BETWEEN_KILLS_S)
            stop.set()
            answers = await asking
            output, _ = await asyncio.to_thread(load.communicate)
        again = [await _embed(client, text) for text in TEXTS]
    figures = json.loads(output.splitlines()[-1])

    assert {status for status, _ in answers} == {200}
    assert len(answers) > KILLS * BETWEEN_KILLS_S * RATE_PER_S / 2
    assert again == first, "the same bytes and the same usage"
    assert (figures["wrong"], figures["lost"]) == (0, 0)
    assert figures["sampled"] >= 5_000 * KILLS
    assert figures["worst_gap_s"] < BACK_S


async def _embed(client: httpx.AsyncClient, text: str) -> tuple[int, bytes]:
    answer = await client.post("/v1/embeddings", json={"input": text, "encoding_format": "base64"})
    return answer.status_code, answer.content


async def _ask(client: httpx.AsyncClient, stop: asyncio.Event) -> list[tuple[int, bytes]]:
    """Ask for old and new texts at a steady rate."""
    asked: list[asyncio.Task[tuple[int, bytes]]] = []
    while not stop.is_set():
        number = len(asked)
        text = TEXTS[number % len(TEXTS)] if number % 2 else f"new, {number}"
        asked.append(asyncio.create_task(_embed(client, text)))
        await asyncio.sleep(1 / RATE_PER_S)
    return list(await asyncio.gather(*asked))


@contextmanager
def _load(service: RunningService) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.cluster.cache_load", SHARD, str(LOSS_S)]
    load = subprocess.Popen(
        command, env=service.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert load.stdout is not None
        assert load.stdout.readline() == "ready\n"
        yield load
    finally:
        load.kill()
        load.wait()
