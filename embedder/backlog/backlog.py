"""What waits or is computed for one ingress, and whether more may come: admission by its wait.

Work enters before it costs anything and leaves when it has ended, however it ends. Interactive
work is refused when it would wait too long for others, and all work when too much is queued. Who
is refused is told when there will be room, and that room is kept. Policy with a clock that is
given; knows nothing of event loops, models or HTTP.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from embedder.backlog.bookings import HORIZON_S, Bookings
from embedder.backlog.rate import Rate
from embedder.config import LimitSettings
from embedder.errors import Overloaded
from embedder.types import Priority, Timings

SHARE = 0.92
"""How much of the rate may be booked: the rest is for newcomers, and for a rate that sinks."""

OWN_TIMES = 8.0
"""How many times its own computation anybody may wait, whatever the limit: a few clients with large
requests wait for each other, and none of them is the worse for it.
"""

PATIENCE = 2.0
"""How many times longer than newcomers those may wait who have come back as they were told.

Should the rate sink, more has been booked than can be done: without a bound all would wait.
"""


@dataclass(frozen=True, slots=True)
class BacklogStats:
    """What an operator sees of a backlog.

    ``queued_tokens`` wait or are computed. ``tokens_per_s`` is None until it has been measured.
    ``predicted_wait_s`` is that of interactive work which would come at once. ``returned`` counts
    those of ``admitted`` that had been told to come back. ``booked_tokens`` are awaited.
    """

    queued_tokens: Mapping[Priority, int]
    tokens_per_s: float | None
    predicted_wait_s: float
    admitted: int
    refused: int
    returned: int
    booked_tokens: int


class Work:
    """Tokens of one computation, as long as they wait or are computed."""

    def __init__(self, backlog: Backlog, tokens: int, priority: Priority) -> None:
        self.priority = priority
        self.tokens = 0
        self._backlog = backlog
        self._ended = False
        self.resize(tokens)

    def resize(self, tokens: int) -> None:
        """Correct how many tokens are still to be computed."""
        if not self._ended:
            self._backlog._add(self, tokens - self.tokens)

    def computed(self, tokens: int, times: Timings) -> None:
        """Take off tokens that have been computed, and tell how long that took."""
        if not self._ended:
            self._backlog._computed(self, tokens, times)

    def end(self) -> None:
        """Take off whatever is left; further calls do nothing."""
        self.resize(0)
        self._ended = True


class Backlog:
    """The work of one process, for all its models; ``limits`` of None admits everything.

    Use it from one thread.
    """

    def __init__(
        self, limits: LimitSettings | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._queued = dict.fromkeys(Priority, 0)
        self._rate = Rate()
        self._bookings = Bookings()
        self._admitted = self._refused = self._returned = 0

    @property
    def stats(self) -> BacklogStats:
        """Return what an operator sees."""
        now = self._clock()
        self._rate.catch_up(now)
        return BacklogStats(
            queued_tokens=dict(self._queued),
            tokens_per_s=self._rate.tokens_per_s,
            predicted_wait_s=self._wait_s(self._ahead(Priority.INTERACTIVE), now),
            admitted=self._admitted,
            refused=self._refused,
            returned=self._returned,
            booked_tokens=self._bookings.tokens(now),
        )

    def enter(self, keys: Sequence[bytes], tokens: int, priority: Priority) -> Work:
        """Admit work of so many tokens, the request for it having these fingerprints.

        Every work wants an `Work.end`.

        Raises:
            Overloaded: too much is queued; the same request will be expected when it says.
        """
        now = self._clock()
        if self._limits is not None:
            self._rate.catch_up(now)
            try:
                self._admit(self._limits, keys, tokens, priority, now)
            except Overloaded:
                self._refused += 1
                raise
        self._admitted += 1
        return Work(self, tokens, priority)

    def _ahead(self, priority: Priority) -> int:
        """Return the tokens that such work waits behind: bulk work keeps no other out."""
        return sum(tokens for other, tokens in self._queued.items() if other <= priority)

    def _wait_s(self, ahead: int, now: float) -> float:
        """Return what a newcomer would wait, those who were told to come now being first."""
        if ahead == 0 or self._limits is None:
            return 0.0
        return self._rate.wait_s(ahead + self._bookings.expected(now, self._limits.max_wait_s))

    def _admit(
        self,
        limits: LimitSettings,
        keys: Sequence[bytes],
        tokens: int,
        priority: Priority,
        now: float,
    ) -> None:
        ahead = self._ahead(priority)
        excess = max(0, ahead + tokens - limits.max_queued_tokens) if ahead else 0
        if priority is Priority.BULK:
            if excess:
                raise Overloaded(self._seconds_until_done(excess))
            return
        wait_s = self._wait_s(ahead, now)
        bearable_s = max(limits.max_wait_s, OWN_TIMES * self._rate.seconds(tokens))
        fits = not excess and wait_s <= bearable_s
        if fits and not len(self._bookings):
            return
        ticket = _ticket(keys)
        booking = self._bookings.find(ticket, now)
        if booking is None:
            if not fits:
                self._refuse(ticket, tokens, max(wait_s, self._seconds_until_done(excess)), now)
            return
        early = booking.due_s > now
        if early and not fits:
            raise Overloaded(math.ceil(booking.due_s - now))
        self._bookings.claim(ticket)
        if excess or self._rate.wait_s(ahead) > PATIENCE * bearable_s:
            self._refuse(ticket, tokens, max(wait_s, self._seconds_until_done(excess)), now)
        self._returned += 1

    def _refuse(self, ticket: bytes, tokens: int, wait_s: float, now: float) -> NoReturn:
        """Book the first time after a wait that has room for this, and tell it.

        While nobody can say when there will be room, that is soon: who comes back is let in, or
        is told what is known by then.
        """
        rate = self._rate.promised_per_s
        room, after_s = (math.inf, 0.0) if rate is None else (SHARE * rate, wait_s)
        seconds = self._bookings.book(ticket, tokens, tokens_per_s=room, after_s=after_s, now=now)
        raise Overloaded(HORIZON_S if seconds is None else seconds)

    def _seconds_until_done(self, tokens: int) -> int:
        """Return when so many tokens will have been computed, in whole seconds of one at least."""
        rate = self._rate.promised_per_s
        return 1 if not rate else max(1, min(HORIZON_S, math.ceil(tokens / rate)))

    def _computed(self, work: Work, tokens: int, times: Timings) -> None:
        self._rate.computed(tokens, times, self._clock())
        self._add(work, -min(tokens, work.tokens))

    def _add(self, work: Work, tokens: int) -> None:
        """Change how many tokens of a work are queued."""
        before = sum(self._queued.values())
        work.tokens += tokens
        self._queued[work.priority] += tokens
        after = before + tokens
        if after and not before:
            self._rate.began(self._clock())
        elif before and not after:
            self._rate.paused(self._clock())


def _ticket(keys: Sequence[bytes]) -> bytes:
    """Return what a request is known by when it comes again."""
    return hashlib.blake2b(b"".join(keys), digest_size=16).digest()
