"""Queueing formulas, with which the simulation must agree where they apply. Pure."""

from __future__ import annotations

import math


def md1_wait_s(rate_per_s: float, service_s: float) -> float:
    """Return the mean wait of M/D/1, by Pollaczek and Khinchine.

    Raises:
        ValueError: the server is saturated.
    """
    load = rate_per_s * service_s
    _check(load)
    return load * service_s / (2 * (1 - load))


def mmc_wait_s(rate_per_s: float, service_s: float, servers: int) -> float:
    """Return the mean wait of M/M/c, by Erlang's C formula.

    Raises:
        ValueError: the servers are saturated.
    """
    offered = rate_per_s * service_s
    _check(offered / servers)
    blocked = 1.0  # Erlang's B, by its recursion
    for server in range(1, servers + 1):
        blocked = offered * blocked / (server + offered * blocked)
    load = offered / servers
    waits = blocked / (1 - load + load * blocked)
    return waits * service_s / (servers * (1 - load))


def _check(load: float) -> None:
    if not 0 <= load < 1 or math.isnan(load):
        raise ValueError(f"the load of a server must be below 1, not {load:.3g}")
