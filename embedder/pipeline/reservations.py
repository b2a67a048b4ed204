"""Reservations for refused requests: when each of them may return.

A refused request gets the time at which all queued work and all work refused before it will be
done. These times only grow, so a queue in order of time holds them. A retry token, a digest of the
content, identifies a request that returns; clients send nothing extra. Requests that begin alike
may share a token: the first one of them to return ends the first reservation.

A request may return to another ingress, and a load balancer that counts open requests prefers the
ingress that refuses. So ingresses exchange `ReservationChanges`, and all have the whole queue.
"""

from __future__ import annotations

import math
import pickle
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

MAX_RETRY_AFTER_S = 120
"""Longest time in a refusal: OpenAI's clients ignore longer ones."""

GRACE_S = 2.0
"""Seconds for which a reservation is kept after it was due: most clients wait whole seconds."""

MAX_RESERVATIONS = 100_000
"""Upper bound on reservations: one process can refuse about as many requests in a minute."""

MEMORY_S = 5.0
"""Time constant, in seconds, of the observed share of requests that return."""

MIN_RETURN_SHARE = 0.1
"""Refused work takes at least this share of its time in the queue, even if no client returns."""

SLOTS_PER_S = 10
"""Resolution at which the work that is due is counted, in slots per second."""

FIRST_MESSAGE_S, MAX_MESSAGE_S = 0.05, 0.25
"""Seconds from the first change until its message, and longest time between messages.

The ingresses of a burst promise the same times until they have heard of each other. A message costs
every ingress about 1 ms, so many ingresses wait longer.
"""


def next_message_s(ingresses: int, pause_s: float = 0.0) -> float:
    """Return the pause before the next message while changes go on; ``pause_s`` was the last."""
    first_s, longest_s = FIRST_MESSAGE_S, MAX_MESSAGE_S
    first_s, longest_s = max(first_s, 0.004 * ingresses), max(longest_s, 0.01 * ingresses)
    return min(max(first_s, 1.25 * pause_s), longest_s)


def retry_token_of(*content: object) -> bytes:
    """Return the retry token of a request with this content."""
    return blake2b(pickle.dumps(content), digest_size=16).digest()


@dataclass(eq=False, slots=True)
class Reservation:
    """Work for which there is capacity at ``ready_s``.

    Clients that wait whole seconds return at ``due_s``.
    """

    retry_token: bytes
    units: int
    ready_s: float
    due_s: float
    ended: bool = False


@dataclass(slots=True)
class ReservationChanges:
    """The changes of one ingress since its last message to the others.

    ``added`` has the retry token, the units, and three times in seconds: until ready, until due,
    and in the queue. They count from the message, because nodes have different clocks. ``ended``
    has the retry tokens of requests that have returned.
    """

    added: list[tuple[bytes, int, float, float, float]] = field(default_factory=list)
    ended: list[bytes] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added or self.ended)


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
        self._changes = ReservationChanges()
        self._notify: Callable[[], None] | None = None

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
        if self._notify is not None:
            self._changes.ended.append(retry_token)
            self._notify()

    def share(self, notify: Callable[[], None] | None) -> None:
        """Record changes from now on, and call ``notify`` after each; None records none."""
        self._notify = notify
        if notify is None:
            self._changes = ReservationChanges()

    def take_changes(self, now: float) -> ReservationChanges:
        """Return the changes since the last call."""
        changes, self._changes = self._changes, ReservationChanges()
        changes.added = [
            (token, units, ready_s - now, due_s - now, queue_s)
            for token, units, ready_s, due_s, queue_s in changes.added
        ]
        return changes

    def all_as_changes(self, now: float) -> ReservationChanges:
        """Return the whole queue as changes, for an ingress that has just started."""
        self._expire(now)
        waiting = [one for one in self._queue if not one.ended]
        queue_s = [0.0] * len(waiting)
        if waiting:
            queue_s[-1] = max(0.0, self._free_s - waiting[-1].ready_s)
        return ReservationChanges(
            [
                (one.retry_token, one.units, one.ready_s - now, one.due_s - now, seconds)
                for one, seconds in zip(waiting, queue_s, strict=True)
            ]
        )

    def receive(self, changes: ReservationChanges, now: float) -> None:
        """Apply the changes of another ingress."""
        self._expire(now)
        for token, units, ready_s, due_s, queue_s in changes.added:
            self._free_s = max(self._free_s, now + ready_s) + queue_s
            if self.count < MAX_RESERVATIONS:
                self._append(Reservation(token, units, now + ready_s, now + due_s))
        for token in changes.ended:
            if token in self._by_token:
                self._returned += self._end(self._by_token[token][0])

    def add(
        self, retry_token: bytes, units: int, *, units_per_s: float, after_s: float, now: float
    ) -> Reservation | None:
        """Append work to the queue, ``after_s`` from now at the earliest; None: it is too long."""
        self._expire(now)
        ready_s = max(now + after_s, self._free_s)
        if self.count >= MAX_RESERVATIONS or ready_s > now + MAX_RETRY_AFTER_S:
            return None
        queue_s = max(MIN_RETURN_SHARE, self._return_share) * units / units_per_s
        self._free_s = ready_s + queue_s
        first = max(1, math.ceil(ready_s - now))
        # Not always the next whole second: requests refused within half a second would all return
        # within the same half second.
        capacity = units_per_s / SLOTS_PER_S
        due_s = min(
            (now + first, now + first + 1),
            key=lambda at: max(capacity, self._due.get(_slot(at), 0)),
        )
        reservation = Reservation(retry_token, units, ready_s, due_s)
        self._append(reservation)
        if self._notify is not None:
            self._changes.added.append((retry_token, units, ready_s, due_s, queue_s))
            self._notify()
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

    def _append(self, reservation: Reservation) -> None:
        self._by_token.setdefault(reservation.retry_token, deque()).append(reservation)
        self._queue.append(reservation)
        self.count += 1
        slot = _slot(reservation.due_s)
        self._due[slot] = self._due.get(slot, 0) + reservation.units
        self._units += reservation.units

    def _end(self, reservation: Reservation) -> int:
        """Remove a reservation, the first one of its token, and return its units."""
        alike = self._by_token[reservation.retry_token]
        alike.remove(reservation)
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
