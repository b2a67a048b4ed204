"""Who was told to come back when: a calendar of one minute with room for so many tokens.

A booking is found again by its ticket, a digest of what was asked, so whoever sends the same
request again needs no number to show. Nothing here grows beyond the horizon of the calendar and
`MAX_BOOKINGS`. Knows neither what waits nor how the room is measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HORIZON_S = 120
"""How far ahead somebody may be told to come back; OpenAI's clients obey no longer waits."""

GRACE_S = 2.0
"""Seconds for which a booking is kept for whoever comes late."""

MAX_BOOKINGS = 100_000
"""Tickets that are kept; a minute of what one process can refuse."""

SLOTS_PER_S = 10
"""Parts of a second with room of their own. Clients come back after whole seconds: were a second
filled in order, all of it would come back within the moment that it took to fill it.
"""

KEPT = 0.98
"""How much of what is known of clients' obedience is kept from one slot to the next."""


@dataclass(frozen=True, slots=True)
class Booking:
    """So many tokens are awaited at ``due_s``."""

    tokens: int
    due_s: float


class Bookings:
    """The calendar; all times are on the caller's clock."""

    def __init__(self) -> None:
        self._tokens = 0
        self._by_ticket: dict[bytes, Booking] = {}
        self._tickets: dict[int, list[bytes]] = {}
        self._booked: dict[int, float] = {}
        self._now = -1
        self._returned = 0.0
        self._lost = 0.0

    def __len__(self) -> int:
        """Return how many bookings are kept; some of them may have passed."""
        return len(self._by_ticket)

    def tokens(self, now: float) -> int:
        """Return the tokens that may still be claimed."""
        self._forget(now)
        return self._tokens

    def find(self, ticket: bytes, now: float) -> Booking | None:
        """Return the booking of a ticket, unless its time has passed."""
        self._forget(now)
        booking = self._by_ticket.get(ticket)
        return booking if booking is not None and now <= booking.due_s + GRACE_S else None

    def claim(self, ticket: bytes) -> None:
        """Take out the booking of somebody who has come back."""
        booking = self._by_ticket.pop(ticket)
        self._tokens -= booking.tokens
        self._returned += booking.tokens

    def book(
        self, ticket: bytes, tokens: int, *, tokens_per_s: float, after_s: float, now: float
    ) -> int | None:
        """Book room for tokens after a wait; return in how many whole seconds there is some.

        ``tokens_per_s`` is the room of one second of the calendar. What exceeds the room of a slot
        takes up those behind it. None means that nothing could be booked.
        """
        self._forget(now)
        room = tokens_per_s / SLOTS_PER_S
        if len(self) >= MAX_BOOKINGS or room <= 0 or after_s > HORIZON_S:
            return None
        for seconds in range(max(1, math.ceil(after_s)), HORIZON_S + 1):
            slot = _slot(now + seconds)
            if self._booked.get(slot, 0.0) < room:
                break
        else:
            return None
        self._fill(slot, tokens, room)
        self._lose(ticket)
        self._by_ticket[ticket] = Booking(tokens, now + seconds)
        self._tickets.setdefault(slot, []).append(ticket)
        self._tokens += tokens
        return seconds

    def expected(self, now: float, seconds: float) -> float:
        """Return the tokens that will come back within ``seconds`` of now.

        They are the same part of those booked as came back of those that were due lately.
        """
        if not self._booked:
            return 0.0
        self._forget(now)
        due = range(_slot(now), _slot(now + seconds))
        tokens = sum(self._booked.get(slot, 0.0) for slot in due)
        seen = self._returned + self._lost
        return tokens * self._returned / seen if seen else tokens

    def _fill(self, slot: int, tokens: float, room: float) -> None:
        """Pour tokens into the slots from this one on, up to the end of the calendar."""
        end = self._now + (HORIZON_S + 1) * SLOTS_PER_S
        while tokens > 0 and slot <= end:
            booked = self._booked.get(slot, 0.0)
            poured = min(tokens, max(0.0, room - booked))
            self._booked[slot] = booked + poured
            tokens -= poured
            slot += 1

    def _forget(self, now: float) -> None:
        """Drop the slots that have passed, and the bookings that nobody can claim any more."""
        if self._now == _slot(now):
            return
        self._now = _slot(now)
        for slot in [slot for slot in self._booked if slot < self._now]:
            del self._booked[slot]
        expired = _slot(now - GRACE_S)
        for slot in [slot for slot in self._tickets if slot < expired]:
            self._returned *= KEPT
            self._lost *= KEPT
            for ticket in self._tickets.pop(slot):
                booking = self._by_ticket.get(ticket)
                if booking is not None and _slot(booking.due_s) == slot:  # else it booked anew
                    self._lose(ticket)

    def _lose(self, ticket: bytes) -> None:
        """Drop a booking, if there is one, that nobody has claimed in time."""
        booking = self._by_ticket.pop(ticket, None)
        if booking is not None:
            self._tokens -= booking.tokens
            self._lost += booking.tokens


def _slot(when: float) -> int:
    return math.floor(when * SLOTS_PER_S)
