"""Numeric work of requests: in threads of its own, within a budget and the request's time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from deployments.ingress.middleware.context import RequestContext
from embedder.core.errors import DeadlineExceeded
from embedder.core.time_limit import wait_within
from embedder.pipeline.reservations import retry_token_of
from embedder.pipeline.threads import QueueStats
from embedder.pipeline.work_queue import AdmittedJob, WorkClass, WorkQueue

T = TypeVar("T")

LARGE = 200_000_000
"""Work of so many multiplications has a thread of its own: small work never waits for it."""

PER_S = 1e9
"""Multiplications a second of one thread, until they have been measured."""


class NumericWork:
    """The numeric work of one ingress replica; work that would wait too long is refused."""

    def __init__(self, max_wait_s: float) -> None:
        self._small = WorkQueue(WorkClass("numeric-small", 1, PER_S, max_wait_s))
        self._large = WorkQueue(WorkClass("numeric-large", 1, PER_S, max_wait_s))

    @property
    def queues(self) -> list[QueueStats]:
        """Return what waits and runs now, and how much was refused."""
        return [self._small.stats, self._large.stats]

    @contextmanager
    def reserve(self, price: int, *request: Any) -> Iterator[AdmittedJob]:
        """Admit work of a price before anything is embedded for it.

        ``request`` identifies the request when it comes again.

        Raises:
            Overloaded: other work waits for too long; it says when to come back.
        """
        queue = self._large if price >= LARGE else self._small
        with queue.admit(price, partial(_ticket, request)) as reservation:
            yield reservation


async def compute(
    context: RequestContext, what: str, reserved: AdmittedJob, work: Callable[[], T]
) -> T:
    """Return what ``work`` returns; ``what`` is what it is called where it takes too long.

    Raises:
        DeadlineExceeded: the request's time is over; running work is asked to stop.
    """
    try:
        return await wait_within(reserved.run(work), context.remaining_s())
    except asyncio.TimeoutError:
        raise DeadlineExceeded(what) from None


def _ticket(request: Sequence[Any]) -> bytes:
    # Only the ends of lists: a digest of all items would cost more than the refusal itself.
    ends = [one[:2] + one[-2:] if isinstance(one, list) else one for one in request]
    sizes = [len(one) for one in request if isinstance(one, list)]
    return retry_token_of(ends, sizes)
