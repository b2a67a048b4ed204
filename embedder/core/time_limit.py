"""A time limit for awaited work that keeps the cancellation of its caller.

``asyncio.wait_for`` of Python 3.10 and 3.11 drops a cancellation of the caller if the awaited work
ends in the same iteration of the event loop. On a busy loop this kept requests of disconnected
clients running.
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
    """Return the result of ``awaitable``; cancel it after ``seconds`` (None: never).

    If ``seconds`` is 0 or less, a coroutine is not started, and a future must be done already.

    Raises:
        asyncio.TimeoutError: the result was not ready in time.
    """
    if seconds is not None and seconds <= 0:
        pending = asyncio.ensure_future(awaitable)
        if not pending.done():
            pending.cancel()
            raise asyncio.TimeoutError
        return pending.result()
    async with timeout(seconds):
        return await awaitable
