"""Calls that have no answer for unusually long are sent again, to another replica if there is one.

A replica that hangs, and one whose node has vanished, neither answers nor closes its connection.
Serve notices both, but later than most requests can wait, and tells no caller that waits.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from deployments.rpc.call_stats import CALL_STATS
from embedder.core.deadline import NEVER, Deadline

FLOOR_S, CEILING_S = 3.0, 15.0
"""Bounds on the wait before the first copy. The ceiling leaves time for an answer within 60 s, the
usual deadline of a request."""

FACTOR = 3.0
WINDOW, OUTLIERS, EVERY = 100, 2, 10
"""A call is late after `FACTOR` times the slowest of the last `WINDOW` answers but for `OUTLIERS`,
because a first call may wait for a replica to start. The value is renewed after `EVERY` answers."""

MAX_COPIES = 3
"""The wait doubles with each copy: the last one is sent after at least 21 s, when Ray has noticed
a lost node and Serve has replaced its replicas."""

SHARE, BURST_S = 0.1, 60.0
"""A copy costs the seconds that its call has waited, or those of a slow answer if that is more.
Seconds of answered calls, and of time itself, earn this share, up to `BURST_S`. If every call is
late because the deployment is overloaded, copies add at most a tenth to its load."""

LOOK_S = 1.0
"""Seconds for which the running replicas count as known, so that most calls need not look. While a
call is late it looks as often: a removed replica is noticed before the next copy is due."""

Sent = dict[asyncio.Future[Any], float]
"""The open copies of a call, and the times at which they were sent."""

logger = logging.getLogger("ray.serve")


class Hedging:
    """Decides which calls to one deployment are late, and how many copies they may cost.

    ``late_s`` is how long a call waits for an answer before it is late. ``now`` is a time in
    seconds of any one clock.
    """

    def __init__(self, now: float) -> None:
        self.late_s = FLOOR_S
        self._durations_s: deque[float] = deque(maxlen=WINDOW)
        self._usual_s = 0.0
        self._answers = 0
        self._earned_until = now
        self._saved_s = BURST_S

    def take(self, waited_s: float) -> bool:
        """Tell whether a call that has waited so long may be sent again, and charge the copy."""
        cost_s = max(waited_s, self._usual_s)
        if self._saved_s < cost_s:
            return False
        self._saved_s -= cost_s
        return True

    def answered(self, duration_s: float, now: float) -> None:
        """Record an answer that came ``duration_s`` after its copy of the call was sent."""
        earned_s = SHARE * (duration_s + now - self._earned_until)
        self._saved_s = min(self._saved_s + earned_s, BURST_S)
        self._earned_until = now
        self._durations_s.append(duration_s)
        self._answers += 1
        if self._answers % EVERY == 0:
            self._usual_s = sorted(self._durations_s)[-1 - OUTLIERS]
            self.late_s = min(max(FACTOR * self._usual_s, FLOOR_S), CEILING_S)


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
        self._hedging = Hedging(time.monotonic())
        self._running: frozenset[Hashable] | None = None
        self._looked = -math.inf

    async def answer(
        self, send: Callable[[], Awaitable[Any]], deadline: Deadline, *, once: bool = False
    ) -> Any:
        """Send a call, and again if it is late; return the first answer.

        A call that is to run ``once``, and one without a deadline, which may take any time, is sent
        again only after a replica that ran when it was sent has been removed. When the caller is
        cancelled, all copies are. After an answer the other copies stay open until the deadline:
        Serve sends fewer calls to a replica with open calls, and a hung one must not look idle.
        """
        now = time.monotonic()
        if deadline <= now + self._hedging.late_s:
            return await send()  # it is over before it is late
        if now >= self._looked + LOOK_S:
            self._running, self._looked = self._replicas(), now
        running = self._running
        sent: Sent = {asyncio.ensure_future(send()): now}
        try:
            done, _ = await asyncio.wait(sent, timeout=self._hedging.late_s)
            if done:
                return self._first(sent, done)
            may_hedge = not once and deadline != NEVER
            answer = await self._race(send, sent, running, may_hedge=may_hedge)
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
        sent: Sent,
        replicas: frozenset[Hashable] | None,
        *,
        may_hedge: bool,
    ) -> Any:
        """Send copies of a late call, and return the first answer.

        ``replicas`` ran when it was sent.
        """
        copies, wait_s, due = 0, self._hedging.late_s, time.monotonic()
        while True:
            running, now = self._replicas(), time.monotonic()
            is_due = now >= due
            if copies < MAX_COPIES and (
                _removed(replicas, running) or (is_due and may_hedge and self._hedging.take(wait_s))
            ):
                CALL_STATS.copies[self._stage] += 1
                logger.warning("%s: no answer for %.1f s; sent again", self._stage, wait_s)
                sent[asyncio.ensure_future(send())] = now
                copies, wait_s, replicas, is_due = copies + 1, 2 * wait_s, running, True
            due = now + wait_s if is_due else due
            look_s = min(LOOK_S, due - now)
            done, _ = await asyncio.wait(sent, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
            lost = {copy for copy in done if self._is_lost(copy)}
            if done - lost or len(lost) == len(sent):
                return self._first(sent, done - lost or lost)
            for copy in lost:
                del sent[copy]

    def _is_lost(self, copy: asyncio.Future[Any]) -> bool:
        return copy.cancelled() or isinstance(copy.exception(), self._lost)

    def _first(self, sent: Sent, done: set[asyncio.Future[Any]]) -> Any:
        """Return the answer of an ended copy, which is no longer open, or raise its error."""
        copy = done.pop()
        began, now = sent.pop(copy), time.monotonic()
        answer = copy.result()
        self._hedging.answered(now - began, now)
        return answer


def _removed(before: frozenset[Hashable] | None, now: frozenset[Hashable] | None) -> bool:
    """Tell whether a replica has been removed, which may be the one that was called."""
    return before is not None and now is not None and not before <= now


def _leave(copy: asyncio.Future[Any], deadline: Deadline) -> None:
    """Let a copy run on until the deadline, and ignore its answer or error."""
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
