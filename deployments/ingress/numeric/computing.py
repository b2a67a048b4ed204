"""Numeric work of a request beside the event loop: in a thread, and within the request's time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from deployments.ingress.door.visit import Visit
from embedder.errors import DeadlineExceeded
from embedder.time_limit import wait_within

T = TypeVar("T")


async def compute(visit: Visit, what: str, work: Callable[[], T]) -> T:
    """Return what ``work`` returns; ``what`` is what it is called where it takes too long.

    Raises:
        DeadlineExceeded: the request's time is over; the thread then ends by itself.
    """
    try:
        return await wait_within(asyncio.to_thread(work), visit.remaining_s())
    except asyncio.TimeoutError:
        raise DeadlineExceeded(what) from None
