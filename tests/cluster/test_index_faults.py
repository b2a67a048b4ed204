"""If an index shard is killed or restarted, no point is lost or invented.

``TEST_KILLS=20`` kills it as often; without it, once. A restart by a changed configuration takes
half a minute and is tested only with it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import yaml

from tests.cluster.index_load import ANCHORS, Load
from tests.cluster.service import READY_S, RunningService, write_config

KILLS = int(os.environ.get("TEST_KILLS", "1"))
WRITERS = 3
SEARCHERS = 2
BETWEEN_KILLS_S = (1.0, 4.0) if "TEST_KILLS" in os.environ else (0.5, 1.5)
"""From the first answer after a kill to the next kill, at random in between."""

ANSWERED = 20 * KILLS
"""The load ends after more writes and more searches than this have been answered."""

BACK_S = 20.0
SHARD = "VectorIndex-0"
NAME = "killed"


async def test_nothing_is_lost_doubled_or_undeleted_when_the_index_is_killed(
    service: RunningService,
) -> None:
    async with httpx.AsyncClient(base_url=service.url, timeout=120) as client:
        load = Load(client, NAME)
        await load.begin()
        victims = await _under_load(service, load)
        found = await load.content()
        wrong = load.oracle.wrong(found)
        load.oracle.settle(found)
        await _kill(service, load)
        again = load.oracle.wrong(await load.content())
        await client.delete(f"/v1/collections/{NAME}")

    assert wrong == {}
    assert again == {}, "the outcome of an unanswered write does not change later"
    assert load.problems == []
    assert len(set(victims)) == KILLS, "each kill hit another replica"
    assert load.oracle.certain() > len(ANCHORS)
    assert load.worst_gap_s < BACK_S


async def _under_load(service: RunningService, load: Load) -> list[int]:
    """Kill the shard at random moments, and return who was killed."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(load.write(number, stop)) for number in range(WRITERS)]
    tasks += [asyncio.create_task(load.search(stop)) for _ in range(SEARCHERS)]
    source = random.Random()
    victims = []
    for _ in range(KILLS):
        await asyncio.sleep(source.uniform(*BETWEEN_KILLS_S))
        victims.append(await _kill(service, load))
    await asyncio.sleep(BETWEEN_KILLS_S[1])
    while min(load.answered, load.searches) <= ANSWERED:  # noqa: ASYNC110 - counted while it runs
        await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*tasks)
    return victims


async def _kill(service: RunningService, load: Load) -> int:
    """Kill the shard and return who that was, once another answers in its place."""
    (process,) = service.replicas(SHARD)
    os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + BACK_S
    while not await load.answers():
        assert time.monotonic() < deadline, "the shard has not come back"
        await asyncio.sleep(0.05)
    return process


@pytest.mark.skipif("TEST_KILLS" not in os.environ, reason="restarts every replica; TEST_KILLS=2")
async def test_a_change_of_args_keeps_every_collection_and_point(
    service: RunningService, tmp_path: Path
) -> None:
    path = "/v1/collections/kept/points"
    points = [{"id": str(number), "vector": [float(number), 1.0]} for number in range(50)]
    document = yaml.safe_load(write_config(service.folder).read_text())
    document["applications"][0]["args"]["limits"]["max_points"] = len(points)
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(document))
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        (await client.post(path, json={"points": points})).raise_for_status()
        before = (await client.get("/v1/collections/kept")).json()
        old = service.replicas(SHARD)
        deployed = service.deploy(tmp_path / "changed.yaml")
        await _until_replaced(service, client, old)
        answer = await client.post(f"{path}/scroll", json={"limit": 100})
        after = (await client.get("/v1/collections/kept")).json()
        await client.delete("/v1/collections/kept")

    assert deployed.wait() == 0
    assert sorted(int(point["id"]) for point in answer.json()["points"]) == list(range(50))
    for field in ("identity", "count", "sequence", "metric", "width"):
        assert after[field] == before[field]


async def _until_replaced(
    service: RunningService, client: httpx.AsyncClient, old: list[int]
) -> None:
    """Wait until other replicas of the shard run, and the service is ready with them."""
    deadline = time.monotonic() + READY_S
    while True:
        new = service.replicas(SHARD)
        if new and not set(new) & set(old):
            with suppress(httpx.TransportError):
                if (await client.get("/readyz")).status_code == 200:
                    return
        assert time.monotonic() < deadline, "the changed configuration is not applied"
        await asyncio.sleep(0.5)
