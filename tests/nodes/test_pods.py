"""The pods of deploy/kubernetes on machines: their commands, probes, ports, secrets and their end.

The tests run in this order: the last one ends a pod.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from tests.nodes.machines import problem, started
from tests.nodes.pods import HEAD, WORKERS, PodCluster
from tests.nodes.waiting import wait_for

ALL = (HEAD, *WORKERS)
SIDECAR = "as-metrics"
"""The port of the autoscaler, which is in a container of its own."""

SENDERS, PAUSE_S, GOES_ON_S = 3, 0.1, 10.0


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodCluster]:
    """Yield pods without a service."""
    if (why := problem()) is not None:
        pytest.skip(why)
    with started(list(ALL), tmp_path_factory.mktemp("pods")) as machines:
        cluster = PodCluster(machines)
        for name in ALL:
            cluster.start(name)
            wait_for(f"{name} has started", partial(cluster.probe, name, "startupProbe"))
        yield cluster


def test_a_pod_is_alive_before_there_is_a_service_and_its_workers_are_not_ready(
    pods: PodCluster,
) -> None:
    assert all(pods.probe(name, "livenessProbe") for name in ALL)
    assert [name for name in ALL if pods.probe(name, "readinessProbe")] == [HEAD]


def test_the_operator_deploys_with_the_token_alone(pods: PodCluster) -> None:
    assert pods.deploy("0" * 64) in (401, 403)
    assert pods.deploy(pods.token) == 200
    for name in WORKERS:
        wait_for(f"{name} is ready", partial(pods.probe, name, "readinessProbe"))


def test_a_client_needs_a_key_of_the_secret(pods: PodCluster) -> None:
    for name in ALL:
        assert pods.embed(name, {"input": "hello"}).status_code == 200
        assert pods.embed(name, {"input": "hello"}, key="another").status_code == 401


def test_every_port_of_a_container_is_used(pods: PodCluster) -> None:
    for name in ALL:
        for port in pods.container(name)["ports"]:
            if port["name"] == SIDECAR:
                continue
            url = f"http://{pods.machines[name].address}:{port['containerPort']}/metrics"
            try:
                answer = httpx.get(url, timeout=10)
            except httpx.ConnectError:
                pytest.fail(f"nothing listens on {port} of {name}")
            except httpx.HTTPError:
                assert port["name"] == "gcs"
                continue
            assert ("# TYPE ray_" in answer.text) is port["name"].endswith("metrics"), port


def test_a_pod_that_is_evicted_fails_no_request(pods: PodCluster) -> None:
    statuses: Counter[int | str] = Counter()
    ended = threading.Event()

    def send() -> None:
        while not ended.is_set():
            try:
                body = {"input": [f"text {time.monotonic()}"] * 8}
                statuses[pods.embed("data", body).status_code] += 1
            except httpx.HTTPError as error:
                statuses[type(error).__name__] += 1
            time.sleep(PAUSE_S)

    senders = [threading.Thread(target=send) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    try:
        began = time.monotonic()
        pods.stop("cpu")
        took_s = time.monotonic() - began
        pods.machines["cpu"].disconnect()
        time.sleep(GOES_ON_S)
    finally:
        ended.set()
        for sender in senders:
            sender.join()
    sys.stdout.write(f"ended after {took_s:.1f} s; answers: {dict(statuses)}\n")

    assert set(statuses) == {200}
    assert pods.probe("data", "readinessProbe")
