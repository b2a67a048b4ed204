"""The rule of admission for every class of work: by the predicted wait, before the work starts.

Work is admitted if the work ahead of it will be done soon enough. Otherwise it is refused with the
time at which there will be room, and that room is kept for it. Units are tokens, rows, bytes or
operations. Policy with a clock that is given; knows nothing of event loops, threads or HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NoReturn, Protocol

from embedder.core.errors import Overloaded
from embedder.pipeline.reservations import HORIZON_S, Booking, Bookings

SHARE = 0.92
"""How much of the rate is promised to refused work: the rest is for newcomers, and for a rate that
sinks.
"""

OWN_TIMES = 8.0
"""Work may always wait this multiple of its own computation, even beyond the limit: a few clients
with large requests wait for each other in place of being refused.
"""

PATIENCE = 2.0
"""Work that comes back at its time may wait this multiple of the wait of newcomers.

If the rate sinks, more has been promised than can be done: without a bound all would wait.
"""

LEAST_S = 0.1
"""The shortest time that a refusal gives: with 0 the work would come back at once, repeatedly."""

SOON_S = 1.0
"""The time that a refusal gives while too little is known of the rate."""


class Rated(Protocol):
    """How fast a class of work is done."""

    def wait_s(self, units: float) -> float:
        """Return how long so much work makes other work wait; 0 while nothing is known."""

    def seconds(self, units: float) -> float:
        """Return how long so much work takes; 0 while nothing is known."""

    @property
    def promised_per_s(self) -> float | None:
        """Return the units per second, or None while too little is known for a promise."""


class Admission:
    """Admission to one class of work."""

    def __init__(self, rate: Rated, max_wait_s: float) -> None:
        self._rate = rate
        self._max_wait_s = max_wait_s
        self.bookings = Bookings()

    def wait_s(self, ahead: float, now: float) -> float:
        """Return how long a newcomer would wait, work that is due to come back being first."""
        if ahead <= 0:
            return 0.0
        return self._rate.wait_s(ahead + self.bookings.expected(now, self._max_wait_s))

    def admit(
        self,
        units: int,
        ahead: float,
        ticket: Callable[[], bytes],
        now: float,
        *,
        excess: float = 0,
        max_wait_s: float | None = None,
    ) -> bool:
        """Admit work as `check`, and take out its booking; return whether it had one."""
        key = self.check(units, ahead, ticket, now, excess=excess, max_wait_s=max_wait_s)
        if key is not None:
            self.bookings.claim(key)
        return key is not None

    def check(
        self,
        units: int,
        ahead: float,
        ticket: Callable[[], bytes],
        now: float,
        *,
        excess: float = 0,
        max_wait_s: float | None = None,
    ) -> bytes | None:
        """Refuse work behind ``ahead`` units of other work if it would wait too long.

        Return the ticket of work that came back at its time, None for other work. ``ticket``
        identifies the request when it comes again, and is called only under load. ``excess`` is by
        how many units a bound is exceeded. ``max_wait_s`` replaces that of the class for this work.

        Raises:
            Overloaded: the work would wait too long, or there is an excess.
        """
        wait_s = self.wait_s(ahead, now)
        bearable_s = max(
            self._max_wait_s if max_wait_s is None else max_wait_s,
            OWN_TIMES * self._rate.seconds(units),
        )
        fits = excess <= 0 and wait_s <= bearable_s
        behind = excess if wait_s <= bearable_s else ahead
        if fits and not len(self.bookings):
            return None
        key = ticket()
        booking = self.bookings.find(key, now)
        if booking is None:
            if not fits:
                self._refuse(key, units, behind, now)
            return None
        if booking.turn_s > now and not fits:
            raise _told(booking, now)
        if excess > 0 or self._rate.wait_s(ahead) > PATIENCE * bearable_s:
            self.bookings.claim(key)
            self._refuse(key, units, behind, now)
        return key

    def seconds_until_done(self, units: float) -> float:
        """Return in how many seconds so much work will have been done."""
        rate = self._rate.promised_per_s
        return SOON_S if not rate else min(HORIZON_S, units / rate)

    def _refuse(self, ticket: bytes, units: int, behind: float, now: float) -> NoReturn:
        """Book the time at which ``behind`` and all work refused before will be done; raise it."""
        rate = self._rate.promised_per_s
        booking = self.bookings.book(
            ticket,
            units,
            units_per_s=SHARE * rate if rate else math.inf,
            after_s=max(LEAST_S, self._rate.wait_s(behind)) if rate else SOON_S,
            now=now,
        )
        raise Overloaded(HORIZON_S) if booking is None else _told(booking, now)


def _told(booking: Booking, now: float) -> Overloaded:
    # Rounded first: a sum of floats must not cost a second.
    return Overloaded(booking.turn_s - now, max(1, math.ceil(round(booking.due_s - now, 6))))
