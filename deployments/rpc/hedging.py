"""Calls that have no answer for unusually long are sent again, to another replica if there is one.

A replica that hangs, and one whose node has vanished, neither answers nor closes its connection.
Serve notices both, but later than most requests can wait, and tells no caller that waits.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from embedder.core.deadline import NEVER, Deadline

FLOOR_S, CEILING_S = 3.0, 15.0
"""Bounds on the wait for the first copy. The ceiling leaves time for an answer within a request's
usual deadline of 60 s."""

FACTOR = 3.0
"""A call is late after this multiple of the slowest recent answer."""

HALF_LIFE_S = 60.0
"""The slowest answer counts half after this time."""

MAX_COPIES = 3
"""The wait doubles with each copy: the last one is sent after at least 21 s, when Ray has noticed
a lost node and Serve has replaced its replicas."""

SHARE, BURST = 0.1, 10.0
"""Copies per answered call, and the copies that may be saved up. Where every call is late because
the deployment is overloaded, copies add at most this share to its load."""

logger = logging.getLogger("ray.serve")


class Hedging:
    """Decides which calls to one deployment are late, and how many copies they may cost.

    ``now`` is a time in seconds of any one clock.
    """

    def __init__(self) -> None:
        self._slowest_s = 0.0
        self._measured = 0.0
        self._copies = BURST

    def wait_s(self, copies: int, now: float) -> float:
        """Return how long a call that has been sent again ``copies`` times waits for an answer."""
        usual_s = FACTOR * self._slowest_at(now)
        return min(max(usual_s, FLOOR_S), CEILING_S) * 2.0**copies

    def take(self) -> bool:
        """Tell whether a late call may be sent again, which uses up a saved copy."""
        if self._copies < 1:
            return False
        self._copies -= 1
        return True

    def answered(self, duration_s: float, now: float) -> None:
        """Record an answer that came ``duration_s`` after its copy of the call was sent."""
        self._slowest_s = max(self._slowest_at(now), duration_s)
        self._measured = now
        self._copies = min(self._copies + SHARE, BURST)

    def _slowest_at(self, now: float) -> float:
        return self._slowest_s * math.pow(0.5, (now - self._measured) / HALF_LIFE_S)


class HedgedCalls:
    """Sends calls to one deployment; the first answer to any copy of a call counts.

    Copies may run at the same time, so every method must be idempotent. An exception in ``lost``
    says that a replica is lost: then the answer to another copy counts. ``replicas`` returns the
    ids of the running replicas; None: they are unknown.
    """

    def __init__(
        self,
        stage: str,
        lost: tuple[type[Exception], ...],
        replicas: Callable[[], frozenset[Hashable] | None],
    ) -> None:
        self._stage = stage
        self._lost = lost
        self._replicas = replicas
        self._hedging = Hedging()

    async def answer(
        self, send: Callable[[], Awaitable[Any]], deadline: Deadline, *, once: bool = False
    ) -> Any:
        """Send a call, and again if it is late; return the first answer.

        A call that is to run ``once``, and one without a deadline, which may take any time, is sent
        again only after a replica that ran when it was sent has been removed. When the caller is
        cancelled, all copies are. After an answer the other copies stay open until the deadline:
        Serve sends fewer calls to a replica with open calls, and a hung one must not look idle.
        """
        sent: dict[asyncio.Future[Any], float] = {}
        try:
            answer = await self._race(send, sent, may_hedge=not once and deadline != NEVER)
        except BaseException:
            for copy in sent:
                _cancel(copy)
            raise
        for copy in sent:
            _leave(copy, deadline)
        return answer

    async def _race(
        self,
        send: Callable[[], Awaitable[Any]],
        sent: dict[asyncio.Future[Any], float],
        *,
        may_hedge: bool,
    ) -> Any:
        """Return the first answer; ``sent`` maps open copies to the times at which they began."""
        copies = 0
        sent[asyncio.ensure_future(send())] = time.monotonic()
        replicas = self._replicas()
        while True:
            wait_s = self._hedging.wait_s(copies, time.monotonic())
            done, _ = await asyncio.wait(sent, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            for copy in done:
                began = sent.pop(copy)
                if sent and isinstance(copy.exception(), self._lost):
                    continue
                answer = copy.result()
                now = time.monotonic()
                self._hedging.answered(now - began, now)
                return answer
            if done or copies == MAX_COPIES:
                continue
            running = self._replicas()
            if _removed(replicas, running) or (may_hedge and self._hedging.take()):
                copies += 1
                logger.warning("%s: no answer for %.1f s; sent again", self._stage, wait_s)
                sent[asyncio.ensure_future(send())] = time.monotonic()
                replicas = running


def _removed(before: frozenset[Hashable] | None, now: frozenset[Hashable] | None) -> bool:
    """Tell whether a replica has been removed, which may be the one that was called."""
    return before is not None and now is not None and not before <= now


def _leave(copy: asyncio.Future[Any], deadline: Deadline) -> None:
    """Let a copy run on until the deadline, whatever becomes of it."""
    if deadline == NEVER:
        _cancel(copy)  # its replica has been removed
        return
    timer = asyncio.get_running_loop().call_later(deadline.remaining_s(), _cancel, copy)
    copy.add_done_callback(lambda _: timer.cancel())
    copy.add_done_callback(_retrieve)


def _cancel(copy: asyncio.Future[Any]) -> None:
    copy.add_done_callback(_retrieve)
    copy.cancel()


def _retrieve(copy: asyncio.Future[Any]) -> None:
    """Retrieve the error of an ended copy; Serve turns a cancellation into an error.

    Otherwise asyncio logs that nothing has retrieved it.
    """
    if not copy.cancelled():
        copy.exception()
