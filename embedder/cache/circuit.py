"""A circuit breaker: what keeps failing is left alone for a while, and then tried by one caller.

Pure bookkeeping: the caller tells what happened, and nothing is known of what is called.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FAILURES = 5
"""So many failures in a row open the circuit."""

PAUSE_S = 1.0
"""How long it stays open before one caller may try."""


class Circuit:
    """Closed at first. Whoever is let through by `allows` tells how it went, just once."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._open_until = float("-inf")
        self._trying = False

    @property
    def is_closed(self) -> bool:
        """Tell whether everybody is let through."""
        return self._failures < FAILURES

    def allows(self) -> bool:
        """Tell whether the caller may go ahead; of an open circuit, one at a time after a pause."""
        if self.is_closed:
            return True
        if self._trying or self._clock() < self._open_until:
            return False
        self._trying = True
        return True

    def succeeded(self) -> None:
        """Close the circuit."""
        self._failures = 0
        self._trying = False

    def failed(self) -> None:
        """Count a failure; one too many opens the circuit, as does that of a trial."""
        self._failures += 1
        self._trying = False
        self._open_until = self._clock() + PAUSE_S

    def given_up(self) -> None:
        """Take back what `allows` has allowed: nothing was learned from it."""
        self._trying = False
