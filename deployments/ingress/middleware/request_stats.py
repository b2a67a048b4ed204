"""Counters of requests: in progress, abandoned, and answered by status."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


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

    @contextmanager
    def in_progress(self) -> Iterator[None]:
        """Count a request as in progress for as long as the block runs."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
