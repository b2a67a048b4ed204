"""The health of a store as its cache sees it: its state and counters.

A failing store is logged once, and its recovery once, however often it is tried.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from embedder.core.errors import StageUnavailable

logger = logging.getLogger(__name__)

StoreState = Literal["opening", "loading", "ready", "failing", "unavailable", "stopped"]
"""``unavailable``: cannot be opened. ``failing``: accepts no writes. Both are retried."""


@dataclass(slots=True)
class StoreHealth:
    """What a cache has observed of its store.

    ``loaded`` entries came from the store, which had ``total`` rows at first. ``written`` counts
    entries, the last at ``written_at`` of a monotonic clock; ``failures`` counts attempts.
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
    def state(self) -> StoreState:
        """Return the state in one word."""
        if self.stopped:
            return "stopped"
        if not self.is_open:
            return "unavailable" if self.failing else "opening"
        if self.failing:
            return "failing"
        return "loading" if self.loading else "ready"

    def wrote(self, count: int, now: float) -> None:
        """Count entries that have been written."""
        self.written += count
        self.written_at = now

    def failed(self, error: StageUnavailable) -> None:
        """Count a failed attempt; log the first of a series."""
        self.failures += 1
        if not self.failing:
            logger.error("the cache store fails; the cache works from memory: %s", error.reason)
        self.failing = True

    def recovered(self) -> None:
        """Record a successful write; log the first after failures."""
        if self.failing:
            logger.warning("the cache store works again")
        self.failing = False
