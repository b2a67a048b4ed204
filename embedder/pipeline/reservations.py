"""The refused requests that are to come back, and when.

Each refused request gets the time at which the work queued now, and all that was refused before it,
will be done. Times only grow, so the line is one clock and a queue. A request is found again by its
ticket, a digest of its content, so clients need not send a number. Knows neither what is queued nor
how the rate is measured.
"""

from __future__ import annotations

import math
import pickle
from collections import deque
from dataclasses import dataclass
from hashlib import blake2b

HORIZON_S = 120
"""The longest time that a refusal gives: OpenAI's clients ignore longer ones."""

GRACE_S = 2.0
"""Seconds for which a booking is kept after it was due: most clients wait whole seconds."""

MAX_BOOKINGS = 100_000
"""Bookings that are kept: what one process can refuse in a minute."""

MEMORY_S = 5.0
"""Seconds after which the observed share of returning clients counts e times less."""

LEAST_SHARE = 0.1
"""The least share of its time that refused work takes in the line, if no client comes back."""

SLOTS_PER_S = 10
"""Parts of a second in which the work that is due is counted."""


def ticket_of(*content: object) -> bytes:
    """Return the ticket of a request with this content."""
    return blake2b(pickle.dumps(content), digest_size=16).digest()


@dataclass(slots=True)
class Booking:
    """Work whose turn is at ``turn_s``; clients that wait whole seconds return at ``due_s``.

    ``units`` is 0 once it has come or was given up.
    """

    ticket: bytes
    units: int
    turn_s: float
    due_s: float


class Bookings:
    """The line; all times are on the caller's clock."""

    def __init__(self) -> None:
        self._by_ticket: dict[bytes, Booking] = {}
        self._line: deque[Booking] = deque()
        self._due: dict[int, int] = {}
        self._units = 0
        self._free_s = 0.0
        self._now = 0.0
        self._returned = self._lost = 0.0

    def __len__(self) -> int:
        """Return how many bookings are kept; some of them may have passed."""
        return len(self._by_ticket)

    def units(self, now: float) -> int:
        """Return the work that may still come back."""
        self._forget(now)
        return self._units

    def find(self, ticket: bytes, now: float) -> Booking | None:
        """Return the booking of a ticket, unless its time has passed."""
        self._forget(now)
        return self._by_ticket.get(ticket)

    def claim(self, ticket: bytes) -> None:
        """Take out the booking of a request that has come back."""
        self._returned += self._end(self._by_ticket[ticket])

    def book(
        self, ticket: bytes, units: int, *, units_per_s: float, after_s: float, now: float
    ) -> Booking | None:
        """Append work to the line, ``after_s`` from now at the earliest.

        None means that the line is too long.
        """
        self._forget(now)
        turn_s = max(now + after_s, self._free_s)
        if len(self) >= MAX_BOOKINGS or turn_s > now + HORIZON_S:
            return None
        if ticket in self._by_ticket:
            self._lost += self._end(self._by_ticket[ticket])
        self._free_s = turn_s + max(LEAST_SHARE, self._share) * units / units_per_s
        first = max(1, math.ceil(turn_s - now))
        # Not always the next whole second, or all that are refused within half a second would
        # come back within the same half second.
        room = units_per_s / SLOTS_PER_S
        due_s = min(
            (now + first, now + first + 1), key=lambda at: max(room, self._due.get(_slot(at), 0))
        )
        booking = self._by_ticket[ticket] = Booking(ticket, units, turn_s, due_s)
        self._line.append(booking)
        self._due[_slot(due_s)] = self._due.get(_slot(due_s), 0) + units
        self._units += units
        return booking

    def expected(self, now: float, seconds: float) -> float:
        """Return the work that will come back within ``seconds`` of now.

        It is the same share of the work due then as came back of the work due lately.
        """
        if not self._by_ticket:
            return 0.0
        self._forget(now)
        due = range(_slot(now), _slot(now + seconds))
        return self._share * sum(self._due.get(slot, 0) for slot in due)

    @property
    def _share(self) -> float:
        seen = self._returned + self._lost
        return self._returned / seen if seen >= 1 else 1.0

    def _forget(self, now: float) -> None:
        """Drop the bookings whose time has passed."""
        kept = math.exp((self._now - now) / MEMORY_S)
        self._returned, self._lost, self._now = self._returned * kept, self._lost * kept, now
        while self._line and self._line[0].due_s < now - GRACE_S:
            booking = self._line.popleft()
            if booking.units:
                ago_s = now - GRACE_S - booking.due_s
                self._lost += self._end(booking) * math.exp(-ago_s / MEMORY_S)

    def _end(self, booking: Booking) -> int:
        """Await a booking no longer; return its work."""
        del self._by_ticket[booking.ticket]
        units, booking.units = booking.units, 0
        self._units -= units
        self._due[_slot(booking.due_s)] -= units
        if not self._due[_slot(booking.due_s)]:
            del self._due[_slot(booking.due_s)]
        return units


def _slot(when: float) -> int:
    return math.floor(when * SLOTS_PER_S)
