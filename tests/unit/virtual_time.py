"""Time that passes only while everything waits, and then at once: what takes long takes no time.

Knows nothing of what is tested. A machine that stands still for a moment changes no outcome.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest


class VirtualTime:
    """Takes the place of the clock of the running event loop, and of ``time.monotonic``."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._now = time.monotonic()
        loop = asyncio.get_running_loop()
        # Private, yet the one place where every loop of asyncio waits.
        self._selector: Any = loop._selector  # type: ignore[attr-defined]
        self._select = self._selector.select
        patch.setattr(self._selector, "select", self._wait)
        patch.setattr(loop, "time", self)
        patch.setattr(time, "monotonic", self)

    def __call__(self) -> float:
        """Return the seconds of now."""
        return self._now

    def stand_still(self, seconds: float) -> None:
        """Let time pass in which the loop gets nothing done."""
        self._now += seconds

    def _wait(self, timeout: float | None) -> Any:
        """Let the time pass that the loop would wait; if only others can wake it, wait for them."""
        if timeout is None:
            return self._select(None)
        self._now += timeout
        return self._select(0)
