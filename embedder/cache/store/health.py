"""How a cache gets on with its store: the state it is in, and what has come of it so far.

Tells the operator once that a store fails and once that it works again, however often it is tried.
Knows nothing of how writing goes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from embedder.core.errors import StageUnavailable

logger = logging.getLogger(__name__)

State = Literal["opening", "loading", "ready", "failing", "unavailable", "stopped"]
"""``unavailable`` is a store that cannot be opened, ``failing`` one that takes nothing; both are
tried again.
"""


@dataclass(slots=True)
class StoreHealth:
    """What is known of a store, told by whoever uses it.

    ``loaded`` entries came from the store, which had ``total`` rows when loading began. ``written``
    counts entries, the last at ``written_at`` of a monotonic clock; ``failures`` counts attempts.
    """

    is_open: bool = False
    loading: bool = False
    failing: bool = False
    stopped: bool = False
    loaded: int = 0
    total: int = 0
    written: int = 0
    written_at: float | None = None
    failures: int = 0

    @property
    def state(self) -> State:
        """Return the state in one word."""
        if self.stopped:
            return "stopped"
        if not self.is_open:
            return "unavailable" if self.failing else "opening"
        if self.failing:
            return "failing"
        return "loading" if self.loading else "ready"

    def wrote(self, count: int, now: float) -> None:
        """Count entries that are safe now."""
        self.written += count
        self.written_at = now

    def failed(self, error: StageUnavailable) -> None:
        """Count an attempt that failed."""
        self.failures += 1
        if not self.failing:
            logger.error("the cache is not saved, and goes on without: %s", error.reason)
        self.failing = True

    def recovered(self) -> None:
        """Take note that the store has taken what it was given."""
        if self.failing:
            logger.warning("the cache is saved again")
        self.failing = False
