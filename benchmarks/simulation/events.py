"""The simulated clock, and the events that are due on it."""

from __future__ import annotations

import gc
import heapq
import math
from collections.abc import Callable
from itertools import count
from typing import Any


class Events:
    """Runs events in the order of their times; events of one time run in the order of `at`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.handled = 0
        self._due: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._number = count()

    def clock(self) -> float:
        """Return the simulated time in seconds, for policies that take a clock."""
        return self.now

    def at(self, when: float, handle: Callable[[Any], None], argument: Any = None) -> None:
        """Call ``handle(argument)`` at a time, which must not have passed."""
        heapq.heappush(self._due, (max(when, self.now), next(self._number), handle, argument))

    def run(self, until: float = math.inf) -> None:
        """Handle all events that are due before ``until``, also those that they cause."""
        due = self._due
        # Nothing here forms cycles, and millions of objects take long to look through for them.
        collects = gc.isenabled()
        gc.disable()
        try:
            while due and due[0][0] < until:
                self.now, _, handle, argument = heapq.heappop(due)
                self.handled += 1
                handle(argument)
        finally:
            if collects:
                gc.enable()
