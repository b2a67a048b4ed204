"""Waiting for another thread or process, for as long as a slow machine may need."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

LONG_S = 120.0
"""Seconds after which a wait fails: less than the time limit of a test, which names no place."""


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait for a condition that another thread fulfils; return whether it is fulfilled."""
    ends = time.monotonic() + LONG_S
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(0.002)
    return True


async def until(condition: Callable[[], bool]) -> None:
    """Run the event loop until a condition holds, which another thread may fulfil."""
    while not condition():  # noqa: ASYNC110 - no thread of the product sets an event
        await asyncio.sleep(0.001)
