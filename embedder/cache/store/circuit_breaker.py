"""A circuit breaker: calls to a failing service stop, and one is tried after a pause.

Closed, every call passes. After some failures in a row the breaker opens and no call passes. After
a pause one call passes as a trial: if it succeeds the breaker closes, else the pause starts again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TypeVar

from embedder.core.deadline import Deadline

logger = logging.getLogger(__name__)

T = TypeVar("T")

FAILURES = 5
"""Failures in a row that open the breaker: one late answer of a busy machine must not."""

PAUSE_S = 1.0


class CircuitState(str, Enum):
    """Whether calls pass, and whether a trial is running."""

    CLOSED = "closed"
    OPEN = "open"
    TRIAL = "trial"


class CircuitBreaker:
    """Decide call by call; ``name`` is that of the service in the log.

    Report every call that was allowed by `succeeded`, `failed` or, if its caller was cancelled, by
    `abandoned`, so that the next call becomes the trial. `run` does so.
    """

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.failures = 0
        """How many calls have failed."""
        self.opened = 0
        """How often the breaker has opened from being closed."""
        self.state = CircuitState.CLOSED
        self._name = name
        self._clock = clock
        self._in_a_row = 0
        self._open_until = float("-inf")

    async def run(self, call: Callable[[], Awaitable[T]], seconds: float) -> T | None:
        """Return the result of a call; None if it fails, takes too long or is not allowed."""
        if not self.allows_call():
            return None
        try:
            async with Deadline.after(seconds).limit():
                result = await call()
        except Exception as error:  # noqa: BLE001 - the caller works without the service
            self.failed(error)
            return None
        except BaseException:
            self.abandoned()
            raise
        self.succeeded()
        return result

    def allows_call(self) -> bool:
        """Tell whether a call may be made now."""
        if self.state is CircuitState.OPEN and self._clock() >= self._open_until:
            self.state = CircuitState.TRIAL
            return True
        return self.state is CircuitState.CLOSED

    def succeeded(self) -> None:
        """Record a call that was answered."""
        if self.state is not CircuitState.CLOSED:
            logger.warning("%s answers again", self._name)
        self._in_a_row = 0
        self.state = CircuitState.CLOSED

    def failed(self, error: Exception) -> None:
        """Record a call that failed or timed out; log the error if the breaker opens."""
        self.failures += 1
        self._in_a_row += 1
        if self.state is CircuitState.CLOSED:
            if self._in_a_row < FAILURES:
                return
            self.opened += 1
            # Without the message of a foreign error: it might quote a URL with a password.
            reason = f"{type(error).__name__} {getattr(error, 'reason', '')}".rstrip()
            logger.warning("%s fails; requests are computed without it: %s", self._name, reason)
        self.state = CircuitState.OPEN
        self._open_until = self._clock() + PAUSE_S

    def abandoned(self) -> None:
        """Record a call whose caller stopped waiting, so that its outcome is unknown."""
        if self.state is CircuitState.TRIAL:
            self.state = CircuitState.OPEN
