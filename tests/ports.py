"""Ports for the services of tests and benchmarks."""

from __future__ import annotations

import itertools
import random
import socket

PORTS = range(32_000, 32_768)
"""Below the ports that the system gives to connections, which may take a port before its service
listens; above the blocks of `deployments.launch.ports`."""

_numbers = itertools.count(random.randrange(len(PORTS)))


def free_port() -> int:
    """Return a port of the loopback on which no socket listens, another one at each call."""
    for number in itertools.islice(_numbers, len(PORTS)):
        port = PORTS[number % len(PORTS)]
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"no port of {PORTS} is free")
