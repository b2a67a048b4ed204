"""Ports of several services on one machine: no two services get the same port."""

from __future__ import annotations

import errno
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from itertools import combinations

import pytest
from ray.autoscaler._private import constants as autoscaler_constants
from ray.dashboard import consts as dashboard_constants
from ray.serve._private import constants as serve_constants

from deployments.launch import ports
from deployments.launch.ports import BLOCK, SERVICE_PORTS, ray_ports, reserved_block
from embedder.core.errors import ConfigurationError

OF_WORKER_NODES = {"RAY_SERVE_WORKER_PROXY_HTTP_PORT", "RAY_SERVE_WORKER_PROXY_GRPC_PORT"}
"""Of Ray's ports, those that a service of one machine has not."""


def test_services_that_start_together_get_different_ports() -> None:
    with ExitStack() as services:
        blocks = [services.enter_context(reserved_block(())) for _ in range(20)]
    given = [set(ray_ports(block.start, alone=False).values()) for block in blocks]

    assert all(not one & other for one, other in combinations(given, 2))
    assert len({len(ports) for ports in given}) == 1


def test_the_block_of_another_service_is_skipped_even_if_its_ports_are_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Blocks that no test and no service beside this test reserves.
    starts = range(SERVICE_PORTS.stop, SERVICE_PORTS.stop + 3 * BLOCK, BLOCK)
    monkeypatch.setattr(ports, "SERVICE_PORTS", range(starts.start, starts.stop))

    with reserved_block({starts[0], starts[2]}) as chosen:
        assert chosen == range(starts[1], starts[2])
    with pytest.raises(ConfigurationError, match="ports in a row"), reserved_block(starts):
        pass


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_a_block_with_a_port_in_use_is_skipped(
    family: socket.AddressFamily, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _socket(family) as other:
        # As Serve does it: other processes with this option may listen on the same port.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _bind(other, address)
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(ports, "BLOCK", 1)
        monkeypatch.setattr(ports, "SERVICE_PORTS", range(taken, taken + 1))

        with pytest.raises(ConfigurationError, match="ports in a row"), reserved_block(()):
            pass

    with reserved_block(()) as block:
        assert block == range(taken, taken + 1)


def _socket(family: socket.AddressFamily) -> socket.socket:
    try:
        return socket.socket(family)
    except OSError:
        pytest.skip("this machine has no IPv6")


def _bind(one: socket.socket, address: str) -> None:
    try:
        one.bind((address, 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")


def test_a_port_is_free_on_a_machine_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    original = socket.socket

    def without_ipv6(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return original(family)

    with original() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(socket, "socket", without_ipv6)

    assert ports.is_free(port)


def test_every_port_that_ray_would_share_is_set() -> None:
    """Of Serve's, which it reads from its environment; all ports have PORT in their names."""
    named = [
        name
        for name in dir(serve_constants)
        if re.search(r"^RAY_SERVE_.*_PORT$", name) and name not in OF_WORKER_NODES
    ]
    given = ray_ports(20_000, alone=False)

    assert len(named) >= 8
    assert set(named) <= given.keys()
    assert hasattr(autoscaler_constants, "AUTOSCALER_METRIC_PORT")
    assert hasattr(dashboard_constants, "DASHBOARD_METRIC_PORT")


def test_only_a_lone_service_gets_the_usual_ports_of_haproxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another one may have them, although its HAProxy is about to be started again."""
    monkeypatch.setattr(ports, "is_free", lambda port: port == ports.METRICS_PORT)
    alone, beside = ray_ports(20_000, alone=True), ray_ports(20_000, alone=False)

    assert alone["RAY_SERVE_HAPROXY_METRICS_PORT"] == "9101"
    assert alone["RAY_SERVE_HAPROXY_STATS_PORT"] != "8404"
    assert beside["RAY_SERVE_HAPROXY_METRICS_PORT"] != "9101"


def test_the_command_of_a_listener_may_hold_any_bytes() -> None:
    script = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    input()
"""
    command = [sys.executable, "-c", script, "\udcff"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        found = ports.listener(int(child.stdout.readline()))
        child.communicate(b"\n")

    assert found is not None
    assert found.startswith(f"process {child.pid} (")
