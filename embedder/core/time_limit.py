"""A time limit for awaited work that does not lose the caller's cancellation.

``asyncio.wait_for`` of Python 3.10 and 3.11 returns the result, and drops the cancellation, when
the caller is cancelled in the same turn of the event loop in which the awaited work ends. On a busy
loop this kept the requests of disconnected clients running.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

T = TypeVar("T")


async def wait_within(awaitable: Awaitable[T], seconds: float | None) -> T:
    """Return the result of ``awaitable``, which is cancelled after ``seconds``; None: never.

    With 0 or fewer seconds left, a coroutine is not started and only a finished future has a
    result.

    Raises:
        asyncio.TimeoutError: the time is over.
    """
    if seconds is not None and seconds <= 0:
        pending = asyncio.ensure_future(awaitable)
        if not pending.done():
            pending.cancel()
            raise asyncio.TimeoutError
        return pending.result()
    async with timeout(seconds):
        return await awaitable
