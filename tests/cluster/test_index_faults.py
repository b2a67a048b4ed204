"""If an index shard is killed during writes and searches, no point is lost or invented.

``TEST_KILLS=20`` kills it as often; without it, twice.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time

import httpx

from tests.cluster.index_load import ANCHORS, Load
from tests.cluster.service import RunningService

KILLS = int(os.environ.get("TEST_KILLS", "2"))
WRITERS = 3
SEARCHERS = 2
BETWEEN_KILLS_S = (1.0, 4.0)
"""From the first answer after a kill to the next kill, at random in between."""

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
    assert load.answered > 20 * KILLS
    assert load.searches > 20 * KILLS
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
