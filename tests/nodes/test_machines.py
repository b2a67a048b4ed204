"""The shipped files on three machines with addresses of their own, started as cluster.yaml does it.

The tests run in this order: the last ones change the cluster.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass

import httpx
import pytest

from tests.nodes.listeners import Listener
from tests.nodes.service_file import ROOT
from tests.nodes.shipped import GROUPS, PORT, ShippedCluster
from tests.nodes.waiting import READY_S, wait_for

DATA = ("EmbeddingCache-0", "VectorIndex-0")
LOST, OTHERS = "cpu", ("head", "data")
LONG = "word " * 4000

LIMIT_S = READY_S
"""By then the replicas that replace the lost ones are ready. Ray counts a machine as lost after at
most 9 s (`NODE_LOSS`); then they start on the cores on which the requests are computed. Where three
machines share two cores, requests take half a minute meanwhile, or are refused for a while."""

ALONE_S = 10.0
"""Many times what a request takes while nothing else runs."""

PROBED_S = 5.0


def test_every_machines_port_answers_through_haproxy(machines: ShippedCluster) -> None:
    for name in GROUPS:
        answer = machines.embed(name, f"to {name}")
        holders = [found.command for found in machines.listeners(name) if found.port == PORT]

        assert answer.status_code == 200
        assert len(answer.json()["data"][0]["embedding"]) == 384
        assert holders != []
        assert all("haproxy" in command.split()[0] for command in holders)


def test_every_machine_says_that_the_service_is_ready(machines: ShippedCluster) -> None:
    for name in GROUPS:
        answer = httpx.get(machines.url(name, "/readyz?require=embeddings&require=index"))
        states = answer.json()["stages"]

        assert answer.status_code == 200
        # There is no node with a GPU.
        assert "no replica runs" in states.pop("Encoder-gpu")
        assert set(states.values()) == {"ready"}


def test_the_graph_is_spread(machines: ShippedCluster) -> None:
    """But not over the head, and what has files is where they are."""
    found = machines.placement()
    names = {deployment: machines.names(deployment) for deployment in found["replicas"]}

    assert all("head" not in nodes for nodes in names.values())
    assert all(names[deployment] == ["data"] for deployment in DATA)
    for stage in ("Ingress", "Tokenizer"):
        assert set(names[stage]) == {"data", "cpu"}


def test_every_port_that_answers_for_the_service_checks_keys(machines: ShippedCluster) -> None:
    for name in GROUPS:
        served = set()
        for listener in machines.listeners(name):
            if not listener.is_reached_from_elsewhere:
                continue
            url = machines.url(name, "/v1/models", listener.port)
            answer = _get(url, machines.headers)
            if answer is not None and "application/json" in answer.headers["content-type"]:
                served.add(listener.port)
                assert answer.status_code == 200, listener
                assert _status(url) == 401, listener
            else:
                _check_is_rays_own(machines.url(name, "", listener.port), listener)
        assert PORT in served


def _check_is_rays_own(url: str, listener: Listener) -> None:
    """Check that a port without the service shows only metrics to callers without a key."""
    for path in ("/", "/api/version", "/api/serve/applications/", "/logs"):
        answer = _get(f"{url}{path}")
        if answer is not None and answer.status_code != 401:
            assert "# TYPE " in answer.text, (path, listener, answer)


def _get(url: str, headers: dict[str, str] | None = None) -> httpx.Response | None:
    """Return an answer by HTTP, or None if there is none."""
    try:
        return httpx.get(url, headers=headers, timeout=PROBED_S)
    except httpx.HTTPError:
        return None


def _status(url: str) -> int | None:
    answer = _get(url)
    return None if answer is None else answer.status_code


def test_ray_refuses_clients_without_its_token(machines: ShippedCluster) -> None:
    command = (
        f"cd embedder && .venv/bin/ray status --address={machines.machines['head'].address}:6379"
    )

    assert "Node status" in machines.run("cpu", command)
    with pytest.raises(RuntimeError) as refused:
        machines.run("cpu", command, {"RAY_AUTH_TOKEN": "0" * 64})
    assert "Node status" not in str(refused.value)


def test_the_listeners_are_those_of_the_documentation(machines: ShippedCluster) -> None:
    page = (ROOT / "docs" / "cluster.md").read_text()
    stated = [
        range(int(low), int(high or low) + 1)
        for low, high in re.findall(
            r"(\d{4,5})(?:–(\d{4,5}))?", page[page.index("| ports (TCP)") :]
        )
    ]
    for name in GROUPS:
        for listener in machines.listeners(name):
            is_rays = re.search(r"ray|gcs_server|raylet", listener.command) is not None
            assert is_rays or any(listener.port in ports for ports in stated), listener


def test_a_deployment_without_keys_is_refused_and_changes_nothing(machines: ShippedCluster) -> None:
    home = machines.machines["head"].home
    (home / "embedder" / "open.yaml").write_text((ROOT / "serve_cluster.yaml").read_text())
    machines.run("head", "cd embedder && .venv/bin/serve deploy open.yaml")

    wait_for("the refusal", lambda: machines.placement()["status"] == "DEPLOY_FAILED")
    assert re.search(r"no keys.*embedder key", machines.placement()["message"], re.DOTALL)
    with pytest.raises(RuntimeError, match=r"(?s)no keys.*embedder key"):
        machines.run("head", "cd embedder && .venv/bin/embedder deploy open.yaml")
    for name in GROUPS:
        assert _status(machines.url(name, "/v1/models")) == 401
    machines.deploy()
    wait_for("the deployment", lambda: machines.placement()["status"] == "RUNNING")


@dataclass
class Sent:
    """A request: its time in seconds since the link was lost, and its result."""

    name: str
    at_s: float
    status: int | str = "none"
    took_s: float = 0.0


class Clients:
    """Clients of the machines that keep their links, each with one request."""

    def __init__(self, machines: ShippedCluster) -> None:
        self.sent: list[Sent] = []
        self._machines = machines
        self._began = time.monotonic()

    def send(self, count: int) -> None:
        """Send so many requests to each machine, two a second, and wait until all have ended."""
        threads = []
        for number in range(count):
            for name in OTHERS:
                # Every fourth is too long for the ingress to tokenize by itself.
                text = f"{name} {number} " + (LONG if number % 4 == 0 else "word")
                threads.append(threading.Thread(target=self._send, args=(name, text)))
                threads[-1].start()
            time.sleep(0.5)
        for thread in threads:
            thread.join()

    def _send(self, name: str, text: str) -> None:
        row = Sent(name, time.monotonic() - self._began)
        self.sent.append(row)
        while row.took_s < LIMIT_S and row.status != 200:
            # A client repeats a request whose connection broke or that was refused.
            try:
                answer = self._machines.embed(name, text)
                row.status = answer.status_code
                time.sleep(float(answer.headers.get("retry-after", "0")))
            except httpx.TransportError as error:
                row.status = repr(error)
            row.took_s = time.monotonic() - self._began - row.at_s


def test_the_others_answer_when_a_machine_loses_its_link(machines: ShippedCluster) -> None:
    """Each request in the end, and as soon as before once the lost replicas are replaced."""
    for number in range(4):
        assert machines.embed("data", f"before {number}").status_code == 200
    machines.machines[LOST].disconnect()
    clients = Clients(machines)
    clients.send(60)

    assert [row for row in clients.sent if row.status != 200] == []
    wait_for("replicas in place of the lost ones", lambda: _are_replaced(machines))
    for name in OTHERS * 4:
        assert machines.embed(name, f"{time.monotonic()} {LONG}", ALONE_S).status_code == 200


def _are_replaced(machines: ShippedCluster) -> bool:
    """Return whether each stage has replicas, none of them on the lost machine."""
    return all(
        (names := machines.names(stage)) and LOST not in names
        for stage in ("Ingress", "Tokenizer", "Encoder-cpu", *DATA)
    )
