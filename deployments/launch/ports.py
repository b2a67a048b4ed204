"""A block of ports for each service, so that no request reaches another service.

Ray's default ports are the same for every service of a machine, and Ray does not check who listens.
"""

from __future__ import annotations

import errno
import os
import random
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embedder.core.errors import ConfigurationError

SERVICE_PORTS = range(20_000, 32_000)
"""The ports of all blocks: below the ports that the kernel gives to outgoing connections."""

BLOCK = 200
"""Ports of one service; half of them are for the HTTP servers of ingress replicas."""

METRICS_PORT, STATS_PORT = 9101, 8404
"""Ports of HAProxy's metrics and statistics if the service is alone on its machine."""

_LISTENING = "0A"
"""The state of a listening socket in /proc/net/tcp."""

_SHOWN = 80
"""Characters of a command in an error message."""


@contextmanager
def reserved_block(taken: Collection[int]) -> Iterator[range]:
    """Yield a block of free ports, and keep it from other services until the end.

    ``taken`` are the first ports of other services' blocks, which may be free only until one of
    their replicas restarts.

    Raises:
        ConfigurationError: no block is free.
    """
    starts = list(range(SERVICE_PORTS.start, SERVICE_PORTS.stop, BLOCK))
    # In random order, so that a service rarely gets a port that another one has just left.
    random.shuffle(starts)
    for start in starts:
        block = range(start, start + BLOCK)
        if start in taken or not all(map(is_free, block)):
            continue
        with socket.socket() as guard:
            # Services that start together may see the same free block; only one binds its guard.
            try:
                guard.bind(("127.0.0.1", block[-1]))
            except OSError:
                continue
            yield block
            return
    raise ConfigurationError(f"no {BLOCK} ports in a row are free in {SERVICE_PORTS}")


def ray_ports(start: int, *, alone: bool) -> dict[str, str]:
    """Return the environment variables that make Ray listen on the block from ``start`` on.

    HAProxy's metrics and statistics get their usual ports if these are free and the service is
    ``alone``: the HAProxy of another service may be restarting.
    """
    block = range(start, start + BLOCK)
    http, grpc, own = block[: BLOCK // 2], block[BLOCK // 2 : -10], iter(block[-10:-1])
    ports = {
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": http.start,
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": http.stop,
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": grpc.start,
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": grpc.stop,
        # HAProxy sends requests here while no ingress replica lives.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": next(own),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": next(own),
        "AUTOSCALER_METRIC_PORT": next(own),
        "DASHBOARD_METRIC_PORT": next(own),
        "RAY_SERVE_HAPROXY_METRICS_PORT": _usual_or_own(alone, METRICS_PORT, next(own)),
        "RAY_SERVE_HAPROXY_STATS_PORT": _usual_or_own(alone, STATS_PORT, next(own)),
    }
    return {name: str(port) for name, port in ports.items()}


def is_free(port: int) -> bool:
    """Return whether no process listens on a port, on any address."""
    return not any(_is_taken(family, port) for family in (socket.AF_INET, socket.AF_INET6))


def _is_taken(family: socket.AddressFamily, port: int) -> bool:
    """Return whether a process listens on a port of a family; False if the machine lacks it."""
    try:
        # Without SO_REUSEPORT, so that a port of another service's replica counts as taken.
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(("", port))
    except OSError as error:
        return error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
    return False


def listener(port: int) -> str | None:
    """Return the id and command of the process that listens on a port, if it is this user's."""
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
                words = (process / "cmdline").read_text(errors="replace").replace("\0", " ")
                return f"process {process.name} ({words.strip()[:_SHOWN]})"
    return None


def _usual_or_own(alone: bool, usual: int, own: int) -> int:
    return usual if alone and is_free(usual) else own
