"""Virtual time: it passes only while the event loop waits, and then at once.

A pause of the machine does not change the outcome of a test.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest


class VirtualTime:
    """Replaces the clock of the running event loop, and ``time.monotonic``."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._now = time.monotonic()
        loop = asyncio.get_running_loop()
        # Private, but every loop of asyncio waits in its selector.
        self._selector: Any = loop._selector  # type: ignore[attr-defined]
        self._select = self._selector.select
        patch.setattr(self._selector, "select", self._wait)
        patch.setattr(loop, "time", self)
        patch.setattr(time, "monotonic", self)

    def __call__(self) -> float:
        """Return the current virtual time in seconds."""
        return self._now

    def stand_still(self, seconds: float) -> None:
        """Let time pass without running the loop."""
        self._now += seconds

    def _wait(self, timeout: float | None) -> Any:
        """Let the waiting time of the loop pass; without a timeout, wait for other threads."""
        if timeout is None:
            return self._select(None)
        self._now += timeout
        return self._select(0)
