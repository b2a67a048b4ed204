"""A circuit breaker: calls to a failing service stop, and one is tried after a pause.

Closed, every call passes. After some failures in a row the breaker opens and no call passes. After
a pause one call passes as a trial: if it succeeds the breaker closes, else the pause starts again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum

FAILURES = 5
"""Failures in a row that open the breaker: one late answer of a busy machine must not."""

PAUSE_S = 1.0


class CircuitState(str, Enum):
    """Whether calls pass, and whether a trial is running."""

    CLOSED = "closed"
    OPEN = "open"
    TRIAL = "trial"


class CircuitBreaker:
    """Decide call by call.

    Report every call that was allowed by `succeeded`, `failed` or, if its caller was cancelled, by
    `abandoned`, so that the next call becomes the trial.
    """

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        pause_s: float = PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.opened = 0
        """How often the breaker has opened from being closed."""
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
        """Record a call that was answered."""
        self._in_a_row = 0
        self.state = CircuitState.CLOSED

    def failed(self) -> None:
        """Record a call that failed or timed out."""
        self._in_a_row += 1
        if self.state is CircuitState.CLOSED and self._in_a_row < self._failures:
            return
        self.opened += self.state is CircuitState.CLOSED
        self.state = CircuitState.OPEN
        self._open_until = self._clock() + self._pause_s

    def abandoned(self) -> None:
        """Record a call whose caller stopped waiting, so that its outcome is unknown."""
        if self.state is CircuitState.TRIAL:
            self.state = CircuitState.OPEN
