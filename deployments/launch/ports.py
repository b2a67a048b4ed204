"""Ports that one service has for itself, so that no request to it ever reaches another service.

Ray's defaults are the same for each service of a machine. It does not know what listens there.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embedder.core.errors import ConfigurationError

SERVICE_PORTS = range(20_000, 32_000)
"""Where the blocks lie: below the ports that the kernel gives to outgoing connections."""

BLOCK = 200
"""Ports of one service: half of them for replicas of the ingress over HTTP."""

METRICS_PORT, STATS_PORT = 9101, 8404
"""Where HAProxy's metrics and statistics are in the only service of a machine."""

_LISTENING = "0A"
"""The state of such a socket in the kernel's tables."""

_SHOWN = 80
"""Characters of a command."""


@contextmanager
def reserved_block(taken: Collection[int]) -> Iterator[range]:
    """Yield a block of free ports, and keep other services from it meanwhile.

    ``taken`` are the first ports of other services' blocks: a replica of theirs may be about to
    listen again.

    Raises:
        ConfigurationError: no block is free.
    """
    starts = list(range(SERVICE_PORTS.start, SERVICE_PORTS.stop, BLOCK))
    # In any order: a port that one service has just left is rarely the next one's.
    random.shuffle(starts)
    for start in starts:
        block = range(start, start + BLOCK)
        if start in taken or not all(map(is_free, block)):
            continue
        with socket.socket() as guard:
            # Services that start together both see a free block: only one of them gets its guard.
            try:
                guard.bind(("127.0.0.1", block[-1]))
            except OSError:
                continue
            yield block
            return
    raise ConfigurationError(f"no {BLOCK} ports in a row are free in {SERVICE_PORTS}")


def ray_ports(start: int, *, alone: bool) -> dict[str, str]:
    """Return the environment in which Ray listens on the block that begins at ``start``.

    HAProxy's metrics and statistics are on their usual ports where these are free and the service
    is ``alone``: another one may have them, and lack a HAProxy for the moment.
    """
    block = range(start, start + BLOCK)
    http, grpc, own = block[: BLOCK // 2], block[BLOCK // 2 : -10], iter(block[-10:-1])
    ports = {
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": http.start,
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": http.stop,
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": grpc.start,
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": grpc.stop,
        # Where HAProxy sends requests while no replica of the ingress lives.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": next(own),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": next(own),
        "AUTOSCALER_METRIC_PORT": next(own),
        "DASHBOARD_METRIC_PORT": next(own),
        "RAY_SERVE_HAPROXY_METRICS_PORT": _chosen(alone, METRICS_PORT, next(own)),
        "RAY_SERVE_HAPROXY_STATS_PORT": _chosen(alone, STATS_PORT, next(own)),
    }
    return {name: str(port) for name, port in ports.items()}


def is_free(port: int) -> bool:
    """Tell whether no process listens on a port, on any address."""
    # Without SO_REUSEPORT, so that a port of another service's replica counts as taken.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def listener(port: int) -> str | None:
    """Return number and command of the process that listens on a port, if it is this user's."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for row in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = row.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if os.readlink(link) in sockets:
                process = link.parents[1]
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                return f"process {process.name} ({words.strip()[:_SHOWN]})"
    return None


def _chosen(alone: bool, usual: int, own: int) -> int:
    return usual if alone and is_free(usual) else own
