"""Numeric work of requests, in dedicated threads, with admission control and deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from deployments.ingress.middleware.context import RequestContext
from embedder.core.errors import DeadlineExceeded
from embedder.pipeline.reservations import retry_token_of
from embedder.pipeline.threads import QueueStats
from embedder.pipeline.work_queue import AdmittedJob, WorkClass, WorkQueue

T = TypeVar("T")

LARGE = 200_000_000
"""Multiplications from which work runs in the thread for large work, so small work never waits."""

PER_S = 1e9
"""Multiplications per second of one thread, until measured."""


class NumericWork:
    """The numeric work of one ingress replica, in two queues by size."""

    def __init__(self, max_wait_s: float) -> None:
        self._small = WorkQueue(WorkClass("numeric-small", 1, PER_S, max_wait_s))
        self._large = WorkQueue(WorkClass("numeric-large", 1, PER_S, max_wait_s))

    @property
    def queues(self) -> list[QueueStats]:
        """Return the statistics of both queues."""
        return [self._small.stats, self._large.stats]

    @contextmanager
    def reserve(self, price: int, *request: Any) -> Iterator[AdmittedJob]:
        """Admit work of ``price`` multiplications, before its texts are embedded.

        ``request`` identifies the request when the client retries it.

        Raises:
            Overloaded: the predicted wait is too long; the error says when to retry.
        """
        queue = self._large if price >= LARGE else self._small
        with queue.admit(price, partial(_ticket, request)) as reservation:
            yield reservation


async def compute(
    context: RequestContext, what: str, reserved: AdmittedJob, work: Callable[[], T]
) -> T:
    """Run admitted work, and return its result; ``what`` names the work in an error.

    Raises:
        DeadlineExceeded: the deadline has passed; running work is asked to stop.
    """
    try:
        async with context.deadline.limit():
            return await reserved.run(work)
    except asyncio.TimeoutError:
        raise DeadlineExceeded(what) from None


def _ticket(request: Sequence[Any]) -> bytes:
    # Only the ends of lists, because a digest of all items would cost more than the refusal.
    ends = [one[:2] + one[-2:] if isinstance(one, list) else one for one in request]
    sizes = [len(one) for one in request if isinstance(one, list)]
    return retry_token_of(ends, sizes)
