"""Counters of requests: in progress, abandoned, and answered by status."""

from __future__ import annotations

import time
from collections import Counter


class RequestStats:
    """Counters of one ingress replica since its start."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.answers: Counter[int] = Counter()
        self.abandoned = 0
        self._began = time.monotonic()

    @property
    def uptime_s(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._began
