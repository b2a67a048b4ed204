"""The time of an answer by stage, from its headers.

The service states in ``server-timing`` the milliseconds of three stages, and in ``x-total-time``
those of the whole request; the rest of a client's latency was spent in proxies, connections and the
client itself.
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
    """Return the milliseconds of every stage, `REST` and `WIRE`; None without both headers."""
    stated = durations(headers.get("server-timing", ""))
    total = headers.get("x-total-time")
    if not total or any(name not in stated for name in STAGES):
        return None
    stages = {name: stated[name] for name in STAGES}
    # The total is in whole milliseconds, so it can be a little less than its parts.
    inside = max(float(total), sum(stages.values()))
    return stages | {REST: inside - sum(stages.values()), WIRE: max(0.0, latency_ms - inside)}


def mean(breakdowns: Iterable[dict[str, float] | None]) -> dict[str, float] | None:
    """Return the mean of every stage over the answers with stages; None without any."""
    known = [one for one in breakdowns if one is not None]
    if not known:
        return None
    return {name: sum(one[name] for one in known) / len(known) for name in known[0]}
