"""Where the time of an answer went, as its headers tell it.

The service says in ``server-timing`` what three stages took, in milliseconds, and in
``x-total-time`` how long the request was with it; what is left of a client's latency was spent in
proxies, connections and the client itself. A server that says nothing has no stages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

STAGES = ("tokenization", "queue", "inference")
REST = "rest of the service"
WIRE = "proxy, wire and client"

_DURATION = re.compile(r"([\w-]+)\s*;\s*dur\s*=\s*([0-9.]+)")


def durations(header: str) -> dict[str, float]:
    """Return the milliseconds of every name in a ``server-timing`` header."""
    return {name: float(value) for name, value in _DURATION.findall(header)}


def breakdown(headers: Mapping[str, str], latency_ms: float) -> dict[str, float] | None:
    """Return the milliseconds of every stage, `REST` and `WIRE`; None where nothing is told."""
    told = durations(headers.get("server-timing", ""))
    total = headers.get("x-total-time")
    if not total or any(name not in told for name in STAGES):
        return None
    stages = {name: told[name] for name in STAGES}
    # The total is told in whole milliseconds, so it can be a little less than its parts.
    inside = max(float(total), sum(stages.values()))
    return stages | {REST: inside - sum(stages.values()), WIRE: max(0.0, latency_ms - inside)}


def mean(breakdowns: Iterable[dict[str, float] | None]) -> dict[str, float] | None:
    """Return the mean of every stage over those that tell; None where none does."""
    told = [one for one in breakdowns if one is not None]
    if not told:
        return None
    return {name: sum(one[name] for one in told) / len(told) for name in told[0]}
