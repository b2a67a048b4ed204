"""Admits large bodies before they are read, and converts them in a thread, one at a time.

Without admission, clients that send more than the thread can convert would wait until their
deadline, and the event loop would receive bytes of requests that can only time out. A small body
is converted at once, because a change of threads would take longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import ParamSpec, TypeVar

from deployments.ingress.middleware.context import RequestContext
from embedder.core.errors import DeadlineExceeded
from embedder.pipeline.reservations import retry_token_of
from embedder.pipeline.threads import QueueStats
from embedder.pipeline.work_queue import AdmittedJob, WorkClass, WorkQueue

P = ParamSpec("P")
T = TypeVar("T")

INLINE_BYTES = 256 * 1024
"""Bytes up to which a body is converted on the event loop: typically in 3 ms, at most in 35 ms,
or in 55 ms to locate a lone surrogate in nested lists.
"""

BYTES_PER_S = 30e6
"""Bytes of bodies that the thread converts per second, until measured."""

TOKEN_BYTES = 1024
"""Bytes at the start of a body by which it is recognized when the client retries the request."""


class LargeBodies:
    """The bodies that are read or converted by one ingress replica, except for small ones.

    One thread converts them, because a parsed document takes up to ten times its bytes, and more
    threads would compete for the interpreter lock.
    """

    def __init__(self, max_wait_s: float) -> None:
        # Bodies that begin alike have a reservation each: they would all return at once if they
        # shared one.
        kind = WorkClass("large-bodies", 1, BYTES_PER_S, max_wait_s, shares_tokens=True)
        self._queue = WorkQueue(kind)

    @property
    def stats(self) -> QueueStats:
        """Return the statistics of the queue."""
        return self._queue.stats

    def admit(self, path: str, size: int, start: bytes) -> AbstractContextManager[AdmittedJob]:
        """Admit a body of ``size`` bytes that begins with ``start``, before the rest is read.

        Raises:
            Overloaded: the bodies before it take too long. The error says when to retry.
        """
        return self._queue.admit(size, partial(retry_token_of, path, size, start[:TOKEN_BYTES]))


async def convert_body(
    context: RequestContext, work: Callable[P, T], *args: P.args, **named: P.kwargs
) -> T:
    """Run ``work``, which converts the body of a request, and return its result.

    For a large body it runs in a thread, where no step may hold the interpreter lock for long.

    Raises:
        DeadlineExceeded: this body and those before it take too long. Work that has not started
            at the deadline is not run.
    """
    if context.large_body is None:
        return work(*args, **named)
    call = partial(work, *args, **named)
    try:
        async with context.deadline.limit():
            return await context.large_body.run(call)
    except asyncio.TimeoutError:
        raise DeadlineExceeded("thread that reads large bodies") from None
