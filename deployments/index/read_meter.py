"""The load of one replica of the index, as the controller needs it to decide on their number.

Only searches and other reads count: every replica applies all writes, so that more replicas do not
write faster. The unit is a query of a search, or another read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.autoscaling.reports import BUSY, DONE, QUEUED, Increases

_ANSWERED, _SECONDS = "answered", "seconds"


class ReadMeter:
    """Counts reads on one event loop; ``threads`` is how many can run at once.

    ``answers`` is the number of answered ones.
    """

    def __init__(self, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._threads = threads
        self._increases = Increases(clock)
        self.answers = 0
        self._queued = 0
        self._seconds = 0.0
        self.report()  # from which the first increases count

    @contextmanager
    def queued(self, units: int) -> Iterator[None]:
        """Count reads as waiting or running inside the block."""
        self._queued += units
        try:
            yield
        finally:
            self._queued -= units

    def answered(self, units: int, seconds: float) -> None:
        """Count reads that took so many seconds in a thread.

        Failed reads do not count: while the database is down, they would look like a slow replica.
        """
        self.answers += units
        self._seconds += seconds

    def report(self) -> dict[str, float]:
        """Return the numbers for the policy since the report before, by their names."""
        counters = {_ANSWERED: float(self.answers), _SECONDS: self._seconds}
        rates = self._increases.per_second(counters)
        return {
            QUEUED: float(self._queued),
            DONE: rates[_ANSWERED],
            BUSY: rates[_SECONDS] / self._threads,
        }
