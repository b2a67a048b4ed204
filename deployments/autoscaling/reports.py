"""The numbers that replicas report to the policy by `record_autoscaling_stats`, each by its name.

Every replica reports its own queue and rate. An ingress also reports the work that waits in it and
the work that arrives, for each stage that it calls: so the load of a stage without replicas is
known too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

INGRESS = "Ingress"
"""The deployment whose replicas report the work that they send to the others."""

QUEUED = "queued"
"""Work that waits or runs in the replica."""

RATE = "rate"
"""Work per second of the replica while it is busy; 0 if it is unknown."""

INITIAL_RATE = "initial_rate"
"""Work per second with full batches that the replica measured when it started; 0 if it did not."""

DONE = "done"
"""Work per second that the replica did in its `BUSY` share; reported instead of a rate."""

BUSY = "busy"
"""Share of the time that the replica was busy."""


def arriving(stage: str) -> str:
    """Return the name of the work per second that arrives for a stage, refused work included."""
    return f"arriving:{stage}"


def waiting(stage: str) -> str:
    """Return the name of the work that waits for a stage in an ingress."""
    return f"waiting:{stage}"


class Increases:
    """Turns counters into their increases per second since the report before; ``clock`` in s."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: Mapping[str, float] = {}
        self._reported_s = clock()

    def per_second(self, counters: Mapping[str, float]) -> dict[str, float]:
        """Return the increase of each counter; 0 for one that was not there before or shrank."""
        now, before = self._clock(), self._before
        elapsed_s = max(now - self._reported_s, 1e-3)
        self._before, self._reported_s = dict(counters), now
        return {
            name: max(0.0, count - before.get(name, count)) / elapsed_s
            for name, count in counters.items()
        }
