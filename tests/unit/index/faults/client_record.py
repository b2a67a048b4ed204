"""What the clients of an index know of its points, from their own steps and the answers alone."""

from __future__ import annotations

import threading
from collections import defaultdict

from tests.unit.index.faults.steps import COMMON, EMPTY, SHARED, Step, Stored, World, apply, owner

Seen = dict[str, Stored]
"""The points of each collection that an index shows."""


class ClientRecord:
    """Keeps, for each client, the worlds that its answers allow; safe from several threads.

    An acknowledged step has been applied in each world, completely. A step without an answer has
    been applied completely, or not at all. Ids that all clients write are expected as the write of
    the highest number left them. Nothing is known of clients named ``d…``: others delete their
    points.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: dict[str, Step] = {}
        self._worlds: defaultdict[str, list[World]] = defaultdict(lambda: [EMPTY])
        self._unanswered: defaultdict[str, list[Step]] = defaultdict(list)
        self._shared: dict[str, tuple[int, list[int] | None]] = {}
        self._numbers: set[int] = set()
        self._last: defaultdict[str, int] = defaultdict(int)

    def begin(self, client: str, step: Step) -> None:
        """Record that a client takes a step."""
        with self._lock:
            assert client not in self._pending
            self._pending[client] = step

    def acknowledge(self, client: str, number: int | None) -> None:
        """Record that the step of a client succeeded, as the write of this number."""
        with self._lock:
            step = self._pending.pop(client)
            if client.startswith("d"):
                return
            worlds, own = self._worlds[client], _own(step)
            self._worlds[client] = _distinct([apply(one, own) for one in worlds])
            # The client's later write has a higher number than its earlier ones.
            self._unanswered[client].clear()
            if step[0] == "drop":  # numbers begin again
                self._numbers.clear()
                self._last.clear()
            if number is None or client.startswith("k"):
                return
            assert number not in self._numbers, f"two writes have the number {number}"
            assert number > self._last[client], f"{client} wrote {number} after {self._last}"
            self._numbers.add(number)
            self._last[client] = number
            for one, vector in _shared(step).items():
                self._shared[one] = max(self._shared.get(one, (0, None)), (number, vector), key=_at)

    def leave_open(self, client: str) -> None:
        """Record that the present step of a client, if there is one, got no answer or an error."""
        with self._lock:
            step = self._pending.pop(client, None)
            if step is not None and not client.startswith("d"):
                worlds, own = self._worlds[client], _own(step)
                self._worlds[client] = _distinct([*worlds, *(apply(one, own) for one in worlds)])
                self._unanswered[client].append(step)

    def check(self, seen: Seen) -> None:
        """Compare what an index shows, while no client takes a step, with what clients know."""
        with self._lock:
            assert not self._pending
            for client, worlds in self._worlds.items():
                found = _of(client, seen)
                possible = [one for one in worlds if one[""] == found]
                assert possible, f"{client}: {_difference(worlds, found)}"
                self._worlds[client] = possible
            self._check_shared(_of(SHARED, seen))
            self._unanswered.clear()

    def _check_shared(self, found: Stored) -> None:
        highest = max(self._numbers, default=0)
        left_open = [_shared(step) for steps in self._unanswered.values() for step in steps]
        for one in {*found, *self._shared}:
            _, expected = self._shared.get(one, (0, None))
            possible = [expected, *(step[one] for step in left_open if one in step)]
            assert found.get(one) in possible, f"{one} is {found.get(one)}, not one of {possible}"
            self._shared[one] = (highest, found.get(one))


def _of(client: str, seen: Seen) -> Stored:
    collection = client if client.startswith("k") else COMMON
    stored = seen.get(collection, {})
    return {one: vector for one, vector in stored.items() if owner(one) == client}


def _own(step: Step) -> Step:
    """Return the part of a step that only its client knows of."""
    name, given = step
    if name == "upsert":
        return [name, [(one, vector) for one, vector in given if owner(one) != SHARED]]
    return step


def _shared(step: Step) -> dict[str, list[int] | None]:
    """Return the vectors that a step sets for ids of all clients; None: deleted."""
    name, given = step
    if name not in ("upsert", "delete"):
        return {}
    pairs = given if name == "upsert" else [(one, None) for one in given]
    return {one: vector for one, vector in pairs if owner(one) == SHARED}


def _at(write: tuple[int, list[int] | None]) -> int:
    return write[0]


def _distinct(worlds: list[World]) -> list[World]:
    kept: list[World] = []
    for one in worlds:
        if one not in kept:
            kept.append(one)
    return kept


def _difference(worlds: list[World], found: Stored) -> str:
    expected = worlds[0][""]
    lost = {one: vector for one, vector in expected.items() if found.get(one) != vector}
    extra = {one: vector for one, vector in found.items() if expected.get(one) != vector}
    return f"expected {lost}, found {extra} ({len(worlds)} worlds)"
