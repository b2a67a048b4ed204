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
from embedder.pipeline.reservations import MAX_RETRY_AFTER_S, Reservation, Reservations

PROMISED_SHARE = 0.92
"""How much of the rate is promised to refused work: the rest is for newcomers, and for a rate that
sinks.
"""

OWN_TIME_FACTOR = 8.0
"""Work may always wait this multiple of its own computation, even beyond the limit: a few clients
with large requests wait for each other in place of being refused.
"""

RETURN_SLACK = 2.0
"""Work that comes back at its time may wait this multiple of the wait of newcomers.

If the rate sinks, more has been promised than can be done: without a bound all would wait.
"""

MIN_RETRY_AFTER_S = 0.1
"""The shortest time that a refusal gives: with 0 the work would come back at once, repeatedly."""

DEFAULT_RETRY_AFTER_S = 1.0
"""The time that a refusal gives while too little is known of the rate."""


class WorkRate(Protocol):
    """How fast a class of work is done."""

    def wait_s(self, units: float) -> float:
        """Return how long so much work makes other work wait; 0 while nothing is known."""

    def seconds(self, units: float) -> float:
        """Return how long so much work takes; 0 while nothing is known."""

    @property
    def promised_per_s(self) -> float | None:
        """Return the units per second, or None while too little is known for a promise."""


class AdmissionPolicy:
    """Admission to one class of work."""

    def __init__(self, rate: WorkRate, max_wait_s: float) -> None:
        self._rate = rate
        self._max_wait_s = max_wait_s
        self.reservations = Reservations()

    def wait_s(self, ahead: float, now: float) -> float:
        """Return how long a newcomer would wait, work that is due to come back being first."""
        if ahead <= 0:
            return 0.0
        return self._rate.wait_s(ahead + self.reservations.expected(now, self._max_wait_s))

    def admit(
        self,
        units: int,
        ahead: float,
        retry_token: Callable[[], bytes],
        now: float,
        *,
        excess: float = 0,
        max_wait_s: float | None = None,
    ) -> bool:
        """Admit work as `check`, and take out its reservation; return whether it had one."""
        key = self.check(units, ahead, retry_token, now, excess=excess, max_wait_s=max_wait_s)
        if key is not None:
            self.reservations.claim(key)
        return key is not None

    def check(
        self,
        units: int,
        ahead: float,
        retry_token: Callable[[], bytes],
        now: float,
        *,
        excess: float = 0,
        max_wait_s: float | None = None,
    ) -> bytes | None:
        """Refuse work behind ``ahead`` units of other work if it would wait too long.

        Return the retry token of a request that came back at its time, None for other requests.
        ``retry_token`` identifies a repeated request and is called only under load. ``excess`` is
        the number of units above a bound. ``max_wait_s`` replaces the maximum of the class.

        Raises:
            Overloaded: the work would wait too long, or there is an excess.
        """
        wait_s = self.wait_s(ahead, now)
        bearable_s = max(
            self._max_wait_s if max_wait_s is None else max_wait_s,
            OWN_TIME_FACTOR * self._rate.seconds(units),
        )
        fits = excess <= 0 and wait_s <= bearable_s
        behind = excess if wait_s <= bearable_s else ahead
        if fits and not len(self.reservations):
            return None
        key = retry_token()
        reservation = self.reservations.find(key, now)
        if reservation is None:
            if not fits:
                self._refuse(key, units, behind, now)
            return None
        if reservation.ready_s > now and not fits:
            raise _overloaded(reservation, now)
        if excess > 0 or self._rate.wait_s(ahead) > RETURN_SLACK * bearable_s:
            self.reservations.claim(key)
            self._refuse(key, units, behind, now)
        return key

    def seconds_until_done(self, units: float) -> float:
        """Return in how many seconds so much work will have been done."""
        rate = self._rate.promised_per_s
        return DEFAULT_RETRY_AFTER_S if not rate else min(MAX_RETRY_AFTER_S, units / rate)

    def _refuse(self, retry_token: bytes, units: int, behind: float, now: float) -> NoReturn:
        """Book the time at which ``behind`` and all work refused before will be done; raise it."""
        rate = self._rate.promised_per_s
        reservation = self.reservations.book(
            retry_token,
            units,
            units_per_s=PROMISED_SHARE * rate if rate else math.inf,
            after_s=max(MIN_RETRY_AFTER_S, self._rate.wait_s(behind))
            if rate
            else DEFAULT_RETRY_AFTER_S,
            now=now,
        )
        raise (
            Overloaded(MAX_RETRY_AFTER_S) if reservation is None else _overloaded(reservation, now)
        )


def _overloaded(reservation: Reservation, now: float) -> Overloaded:
    # Rounded first: a sum of floats must not cost a second.
    return Overloaded(
        reservation.ready_s - now, max(1, math.ceil(round(reservation.due_s - now, 6)))
    )
