"""The admission rule for every class of work: decide by the predicted wait, before work starts.

Work is admitted if the work ahead of it will be done soon enough. Otherwise it is refused with a
time to return, and capacity is reserved for it at that time. Units are tokens, rows, bytes or
operations. The caller passes the time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NoReturn, Protocol

from embedder.core.errors import Overloaded
from embedder.pipeline.reservations import MAX_RETRY_AFTER_S, Reservation, Reservations

PROMISED_SHARE = 0.92
"""Share of the rate that is promised to refused work. The rest is for new requests and for a rate
that falls.
"""

OWN_TIME_FACTOR = 8.0
"""A request may always wait this multiple of its own estimated compute time, even beyond
``max_wait_s``, so that a few clients with large requests wait for each other and are not refused.
"""

RETURN_SLACK = 2.0
"""A request that returns at its time may wait this multiple of the limit for new requests.

The bound is needed because a rate that falls leaves more promised than can be done.
"""

MIN_RETRY_AFTER_S = 0.1
"""Shortest time in a refusal: with 0 the request would return at once, repeatedly."""

DEFAULT_RETRY_AFTER_S = 1.0
"""Time in a refusal while too little is known of the rate."""


class WorkRate(Protocol):
    """The speed at which a class of work is done."""

    @property
    def promised_per_s(self) -> float | None:
        """Return the units per second, or None while too little is known for a promise."""

    def wait_s(self, units: float) -> float:
        """Return how long ``units`` delay other work; 0 while the rate is unknown."""

    def seconds(self, units: float) -> float:
        """Return how long ``units`` take; 0 while the rate is unknown."""


class AdmissionPolicy:
    """Admission to one class of work.

    With ``shares_tokens``, different requests may have equal retry tokens. A request that returns
    before the first of their reservations is ready then counts as another one. ``ingresses`` is the
    number of those that share the rate and exchange their reservations.
    """

    def __init__(self, rate: WorkRate, max_wait_s: float, *, shares_tokens: bool = False) -> None:
        self._rate = rate
        self._max_wait_s = max_wait_s
        self._shares_tokens = shares_tokens
        self.ingresses = 1
        self.reservations = Reservations()

    def wait_s(self, ahead: float, now: float) -> float:
        """Return how long a new request would wait; requests that are due to return go first."""
        if ahead <= 0:
            return 0.0
        expected = self.reservations.expected(now, self._max_wait_s) / self.ingresses
        return self._rate.wait_s(ahead + expected)

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
        """Accept work behind ``ahead`` units of other work unless it would wait too long.

        ``retry_token`` identifies a repeated request and is called only under load. ``excess`` is
        the number of units above a bound. ``max_wait_s`` replaces the limit of the class. Return
        the token of the reservation that the caller claims when the work starts, if it has one.

        Raises:
            Overloaded: the work would wait too long, or ``excess`` is above 0.
        """
        wait_s = self.wait_s(ahead, now)
        limit_s = self._max_wait_s if max_wait_s is None else max_wait_s
        if wait_s <= limit_s and excess <= 0 and not self.reservations.count:
            return None
        limit_s = max(limit_s, OWN_TIME_FACTOR * self._rate.seconds(units))
        fits = excess <= 0 and wait_s <= limit_s
        if fits and not self.reservations.count:
            return None
        token = retry_token()
        reservation = self.reservations.find(token, now, only_ready=self._shares_tokens)
        if reservation is None and fits:
            return None
        behind = excess if wait_s <= limit_s else ahead
        if reservation is None:
            self._refuse(token, units, behind, now)
        if reservation.ready_s > now and not fits:
            raise _overloaded(reservation, now)
        if excess > 0 or self._rate.wait_s(ahead) > RETURN_SLACK * limit_s:
            self.reservations.claim(token)
            self._refuse(token, units, behind, now)
        return token

    def seconds_until_done(self, units: float) -> float:
        """Return in how many seconds ``units`` of queued work will be done."""
        rate = self._rate.promised_per_s
        if not rate:
            return DEFAULT_RETRY_AFTER_S
        return min(MAX_RETRY_AFTER_S, self.ingresses * units / rate)

    def _refuse(self, token: bytes, units: int, behind: float, now: float) -> NoReturn:
        """Reserve the time at which ``behind`` and all work refused before will be done; raise."""
        rate = self._rate.promised_per_s
        after_s = DEFAULT_RETRY_AFTER_S
        if rate:
            after_s = max(MIN_RETRY_AFTER_S, self._rate.wait_s(behind))
        units_per_s = PROMISED_SHARE * rate if rate else math.inf
        reservation = self.reservations.add(
            token, units, units_per_s=units_per_s, after_s=after_s, now=now
        )
        if reservation is None:
            raise Overloaded(MAX_RETRY_AFTER_S)
        raise _overloaded(reservation, now)


def _overloaded(reservation: Reservation, now: float) -> Overloaded:
    # Rounded first: the error of a sum of floats must not add a second.
    whole_s = max(1, math.ceil(round(reservation.due_s - now, 6)))
    return Overloaded(reservation.ready_s - now, whole_s)
