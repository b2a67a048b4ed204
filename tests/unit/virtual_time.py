"""Virtual time: it passes only while the event loop has nothing else to do, and then at once.

A pause of the machine does not change the outcome of a test.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest


class VirtualTime:
    """Replaces the clock of the running event loop, and ``time.monotonic``.

    Time stands still while the loop waits for a call in a thread.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._now = time.monotonic()
        loop = asyncio.get_running_loop()
        # Private, but every loop of asyncio waits in its selector.
        self._selector: Any = loop._selector  # type: ignore[attr-defined]
        self._select = self._selector.select
        self._in_executor: Any = loop.run_in_executor
        self._in_threads = 0
        patch.setattr(self._selector, "select", self._wait)
        patch.setattr(loop, "run_in_executor", self._run_in_executor)
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
        ready = self._select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self._in_threads:
            return self._select(None)
        self._now += timeout
        return ready

    def _run_in_executor(self, *call: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._in_executor(*call)
        self._in_threads += 1
        future.add_done_callback(self._end_of_thread)
        return future

    def _end_of_thread(self, _: object) -> None:
        self._in_threads -= 1
