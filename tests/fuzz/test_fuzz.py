"""A real service of two index shards under hostile clients keeps its promises.

``FUZZ_S=900 FUZZ_SEED=7`` sets how long, and with which requests; without ``FUZZ_S`` it is skipped.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from tests.cluster.cross_encoder import write_cross_encoder
from tests.cluster.service import RunningService
from tests.fuzz.clients import Client, Findings
from tests.fuzz.requests import COLLECTION
from tests.fuzz.watching import Watch

SECONDS = float(os.environ.get("FUZZ_S", "0"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
CLIENTS = 32
RUDE = 2
SHARDS = 2
WATCHED = ("Ingress", "Tokenizer", "Encoder", "EmbeddingCache-0", "VectorIndex-0", "VectorIndex-1")


@pytest.mark.skipif(not SECONDS, reason="FUZZ_S is not set")
def test_a_service_under_hostile_clients_keeps_its_promises(tmp_path: Path) -> None:
    findings = Findings()
    clients = [
        Client(f"c{number}", SEED, findings, rude=number < RUDE) for number in range(CLIENTS)
    ]
    with _service(tmp_path) as service:
        made = httpx.put(f"{service.url}/v1/collections/{COLLECTION}", json={"metric": "cosine"})
        made.raise_for_status()
        watch = Watch(service, WATCHED)
        end_s = time.monotonic() + SECONDS
        asyncio.run(_run(service.url, clients, findings, watch, end_s))
        asyncio.run(_each(service.url, clients, Client.check))
        shards = _shards(service)
    with _service(tmp_path) as service:
        asyncio.run(_each(service.url, clients, Client.check))
        shards += _shards(service)

    certain = sum(len(client.stored) for client in clients)
    print(
        f"\n{dict(findings.statuses)}\nslowest {findings.slowest_s:.1f} s, {certain} certain points"
    )
    print(f"the clients stood still for {findings.stood_still_s:.0f} s")
    print(*findings.problems, sep="\n")
    print(watch.summary())
    assert findings.problems == []
    assert [shard["status"] for shard in shards] == ["ready"] * 2 * SHARDS
    assert watch.replaced() == []
    assert watch.growth() == []
    assert findings.statuses["200"] > SECONDS
    assert certain > CLIENTS


@contextmanager
def _service(folder: Path) -> Iterator[RunningService]:
    # Stages that scale stop replicas, which would look as if these had been lost.
    fixed = {"max_replicas": 1}
    write_cross_encoder(folder)
    service = RunningService(folder, index={"shards": SHARDS}, ingress=fixed, tokenizer=fixed)
    try:
        service.wait()
        yield service
    finally:
        service.stop()


def _shards(service: RunningService) -> list[dict[str, Any]]:
    """Return what the shards of the index say of themselves."""
    shards: list[dict[str, Any]] = httpx.get(f"{service.url}/v1/stats", timeout=60).json()[
        "indexes"
    ]
    return shards


async def _run(
    url: str, clients: list[Client], findings: Findings, watch: Watch, end_s: float
) -> None:
    each = _each(url, clients, lambda client: client.run(end_s))
    await asyncio.gather(watch.run(end_s), findings.watch_loop(end_s), each)


async def _each(url: str, clients: list[Client], work: Callable[[Client], Any]) -> None:
    """Let every client do something, each over connections of its own."""
    limits = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=limits, connector=connector) as session:
        for client in clients:
            client.session, client.url = session, url
        await asyncio.gather(*(work(client) for client in clients))
