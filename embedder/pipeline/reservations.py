"""Reservations for refused requests: when each of them may return.

A refused request gets the time at which all queued work and all work refused before it will be
done. These times only grow, so a queue in order of time holds them. A retry token, a digest of the
content, identifies a request that returns; clients send nothing extra.
"""

from __future__ import annotations

import math
import pickle
from collections import deque
from dataclasses import dataclass
from hashlib import blake2b

MAX_RETRY_AFTER_S = 120
"""The longest time that a refusal gives: OpenAI's clients ignore longer ones."""

GRACE_S = 2.0
"""Seconds for which a reservation is kept after it was due: most clients wait whole seconds."""

MAX_RESERVATIONS = 100_000
"""Reservations that are kept: what one process can refuse in a minute."""

MEMORY_S = 5.0
"""Seconds after which the observed share of returning clients counts e times less."""

MIN_RETURN_SHARE = 0.1
"""The least share of its time that refused work takes in the line, if no client comes back."""

SLOTS_PER_S = 10
"""Parts of a second in which the work that is due is counted."""


def retry_token_of(*content: object) -> bytes:
    """Return the retry_token of a request with this content."""
    return blake2b(pickle.dumps(content), digest_size=16).digest()


@dataclass(slots=True)
class Reservation:
    """Work whose turn is at ``ready_s``; clients that wait whole seconds return at ``due_s``.

    ``units`` is 0 once it has come or was given up.
    """

    retry_token: bytes
    units: int
    ready_s: float
    due_s: float


class Reservations:
    """The line; all times are on the caller's clock."""

    def __init__(self) -> None:
        self._by_token: dict[bytes, Reservation] = {}
        self._line: deque[Reservation] = deque()
        self._due: dict[int, int] = {}
        self._units = 0
        self._free_s = 0.0
        self._now = 0.0
        self._returned = self._lost = 0.0

    def __len__(self) -> int:
        """Return how many reservations are kept; some of them may have passed."""
        return len(self._by_token)

    def units(self, now: float) -> int:
        """Return the work that may still come back."""
        self._forget(now)
        return self._units

    def find(self, retry_token: bytes, now: float) -> Reservation | None:
        """Return the reservation of a retry_token, unless its time has passed."""
        self._forget(now)
        return self._by_token.get(retry_token)

    def claim(self, retry_token: bytes) -> None:
        """Take out the reservation of a request that has come back."""
        self._returned += self._end(self._by_token[retry_token])

    def book(
        self, retry_token: bytes, units: int, *, units_per_s: float, after_s: float, now: float
    ) -> Reservation | None:
        """Append work to the line, ``after_s`` from now at the earliest.

        None means that the line is too long.
        """
        self._forget(now)
        ready_s = max(now + after_s, self._free_s)
        if len(self) >= MAX_RESERVATIONS or ready_s > now + MAX_RETRY_AFTER_S:
            return None
        if retry_token in self._by_token:
            self._lost += self._end(self._by_token[retry_token])
        self._free_s = ready_s + max(MIN_RETURN_SHARE, self._share) * units / units_per_s
        first = max(1, math.ceil(ready_s - now))
        # Not always the next whole second, or all that are refused within half a second would
        # come back within the same half second.
        room = units_per_s / SLOTS_PER_S
        due_s = min(
            (now + first, now + first + 1), key=lambda at: max(room, self._due.get(_slot(at), 0))
        )
        reservation = self._by_token[retry_token] = Reservation(retry_token, units, ready_s, due_s)
        self._line.append(reservation)
        self._due[_slot(due_s)] = self._due.get(_slot(due_s), 0) + units
        self._units += units
        return reservation

    def expected(self, now: float, seconds: float) -> float:
        """Return the work that will come back within ``seconds`` of now.

        It is the same share of the work due then as came back of the work due lately.
        """
        if not self._by_token:
            return 0.0
        self._forget(now)
        due = range(_slot(now), _slot(now + seconds))
        return self._share * sum(self._due.get(slot, 0) for slot in due)

    @property
    def _share(self) -> float:
        seen = self._returned + self._lost
        return self._returned / seen if seen >= 1 else 1.0

    def _forget(self, now: float) -> None:
        """Drop the reservations whose time has passed."""
        kept = math.exp((self._now - now) / MEMORY_S)
        self._returned, self._lost, self._now = self._returned * kept, self._lost * kept, now
        while self._line and self._line[0].due_s < now - GRACE_S:
            reservation = self._line.popleft()
            if reservation.units:
                ago_s = now - GRACE_S - reservation.due_s
                self._lost += self._end(reservation) * math.exp(-ago_s / MEMORY_S)

    def _end(self, reservation: Reservation) -> int:
        """Await a reservation no longer; return its work."""
        del self._by_token[reservation.retry_token]
        units, reservation.units = reservation.units, 0
        self._units -= units
        self._due[_slot(reservation.due_s)] -= units
        if not self._due[_slot(reservation.due_s)]:
            del self._due[_slot(reservation.due_s)]
        return units


def _slot(when: float) -> int:
    return math.floor(when * SLOTS_PER_S)
