"""Reservations for refused requests: when each of them may return.

A refused request gets the time at which all queued work and all work refused before it will be
done. These times only grow, so a queue in order of time holds them. A retry token, a digest of the
content, identifies a request that returns; clients send nothing extra. Requests that begin alike
may share a token: the first one of them to return ends the first reservation.
"""

from __future__ import annotations

import math
import pickle
from collections import deque
from dataclasses import dataclass
from hashlib import blake2b

MAX_RETRY_AFTER_S = 120
"""Longest time in a refusal: OpenAI's clients ignore longer ones."""

GRACE_S = 2.0
"""Seconds for which a reservation is kept after it was due: most clients wait whole seconds."""

MAX_RESERVATIONS = 100_000
"""Upper bound on reservations: what one process can refuse in a minute."""

MEMORY_S = 5.0
"""Time constant, in seconds, of the observed share of requests that return."""

MIN_RETURN_SHARE = 0.1
"""Refused work takes at least this share of its time in the queue, even if no client returns."""

SLOTS_PER_S = 10
"""Resolution at which the work that is due is counted, in slots per second."""


def retry_token_of(*content: object) -> bytes:
    """Return the retry token of a request with this content."""
    return blake2b(pickle.dumps(content), digest_size=16).digest()


@dataclass(slots=True)
class Reservation:
    """Work for which there is capacity at ``ready_s``.

    Clients that wait whole seconds return at ``due_s``.
    """

    retry_token: bytes
    units: int
    ready_s: float
    due_s: float
    ended: bool = False


class Reservations:
    """The queue of reservations; all times are on the caller's clock.

    ``count`` is their number, expired ones included until the next access.
    """

    def __init__(self) -> None:
        self.count = 0
        self._by_token: dict[bytes, deque[Reservation]] = {}
        self._queue: deque[Reservation] = deque()
        self._due: dict[int, int] = {}
        self._units = 0
        self._free_s = 0.0
        self._now = 0.0
        self._returned = self._lost = 0.0

    def units(self, now: float) -> int:
        """Return the units that may still return."""
        self._expire(now)
        return self._units

    def find(
        self, retry_token: bytes, now: float, *, only_ready: bool = False
    ) -> Reservation | None:
        """Return the first reservation of a token that has not expired, or None.

        ``only_ready`` ignores it until it is ready.
        """
        self._expire(now)
        alike = self._by_token.get(retry_token)
        if not alike or (only_ready and alike[0].ready_s > now):
            return None
        return alike[0]

    def claim(self, retry_token: bytes) -> None:
        """End the first reservation of a token, because its request has returned."""
        self._returned += self._end(self._by_token[retry_token][0])

    def add(
        self, retry_token: bytes, units: int, *, units_per_s: float, after_s: float, now: float
    ) -> Reservation | None:
        """Append work to the queue, ``after_s`` from now at the earliest; None: it is too long."""
        self._expire(now)
        ready_s = max(now + after_s, self._free_s)
        if self.count >= MAX_RESERVATIONS or ready_s > now + MAX_RETRY_AFTER_S:
            return None
        self._free_s = ready_s + max(MIN_RETURN_SHARE, self._return_share) * units / units_per_s
        first = max(1, math.ceil(ready_s - now))
        # Not always the next whole second: requests refused within half a second would all return
        # within the same half second.
        capacity = units_per_s / SLOTS_PER_S
        due_s = min(
            (now + first, now + first + 1),
            key=lambda at: max(capacity, self._due.get(_slot(at), 0)),
        )
        reservation = Reservation(retry_token, units, ready_s, due_s)
        self._by_token.setdefault(retry_token, deque()).append(reservation)
        self._queue.append(reservation)
        self.count += 1
        self._due[_slot(due_s)] = self._due.get(_slot(due_s), 0) + units
        self._units += units
        return reservation

    def expected(self, now: float, seconds: float) -> float:
        """Return the units that will return within ``seconds``, by the share that returned lately.

        ``seconds`` counts from ``now``.
        """
        if not self.count:
            return 0.0
        self._expire(now)
        slots = range(_slot(now), _slot(now + seconds))
        return self._return_share * sum(self._due.get(slot, 0) for slot in slots)

    @property
    def _return_share(self) -> float:
        seen = self._returned + self._lost
        return self._returned / seen if seen >= 1 else 1.0

    def _expire(self, now: float) -> None:
        """End the reservations whose grace time is over."""
        kept = math.exp((self._now - now) / MEMORY_S)
        self._returned, self._lost, self._now = self._returned * kept, self._lost * kept, now
        while self._queue and self._queue[0].due_s < now - GRACE_S:
            reservation = self._queue.popleft()
            if not reservation.ended:
                ago_s = now - GRACE_S - reservation.due_s
                self._lost += self._end(reservation) * math.exp(-ago_s / MEMORY_S)

    def _end(self, reservation: Reservation) -> int:
        """Remove a reservation, the first one of its token, and return its units."""
        alike = self._by_token[reservation.retry_token]
        alike.popleft()
        if not alike:
            del self._by_token[reservation.retry_token]
        self.count -= 1
        reservation.ended = True
        self._units -= reservation.units
        slot = _slot(reservation.due_s)
        if due := self._due.pop(slot, 0) - reservation.units:
            self._due[slot] = due
        return reservation.units


def _slot(when: float) -> int:
    return math.floor(when * SLOTS_PER_S)
