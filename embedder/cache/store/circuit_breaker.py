"""A circuit breaker: what keeps failing is left alone, and tried again after a pause.

Closed, every call passes. After some failures in a row it opens, and none does. After a pause one
call is let through as a trial: if it succeeds the circuit closes, else the pause begins again.
Knows nothing of what is called, and holds no clock of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum

FAILURES = 5
"""In a row: a single late answer of a busy machine is no reason to do without."""

PAUSE_S = 1.0


class CircuitState(str, Enum):
    """Whether calls pass, and whether one is being tried."""

    CLOSED = "closed"
    OPEN = "open"
    TRIAL = "trial"


class CircuitBreaker:
    """Decide call by call; every call that was let through wants `succeeded` or `failed`.

    A call that ends in neither, since its caller left, wants `left`, so that the next is the trial.
    """

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        pause_s: float = PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.opened = 0
        """How often it has opened from being closed."""
        self.state = CircuitState.CLOSED
        self._failures = failures
        self._pause_s = pause_s
        self._clock = clock
        self._in_a_row = 0
        self._open_until = float("-inf")

    def allows_call(self) -> bool:
        """Tell whether a call may be made now."""
        if self.state is CircuitState.OPEN and self._clock() >= self._open_until:
            self.state = CircuitState.TRIAL
            return True
        return self.state is CircuitState.CLOSED

    def succeeded(self) -> None:
        """Note that a call has come to something."""
        self._in_a_row = 0
        self.state = CircuitState.CLOSED

    def failed(self) -> None:
        """Note that a call has failed, or took too long."""
        self._in_a_row += 1
        if self.state is CircuitState.CLOSED and self._in_a_row < self._failures:
            return
        self.opened += self.state is CircuitState.CLOSED
        self.state = CircuitState.OPEN
        self._open_until = self._clock() + self._pause_s

    def left(self) -> None:
        """Note that nobody waits any more for a call, of which nothing is known."""
        if self.state is CircuitState.TRIAL:
            self.state = CircuitState.OPEN
