"""Computations in the air: identical inputs of concurrent requests are computed once.

A flight belongs to nobody who asked for it. It goes on while anyone waits for it, and is cancelled
when the last one has left. Knows nothing of what is computed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from embedder.core.types import EntryResults


@dataclass(eq=False, slots=True)
class Computation:
    """One running computation of the answers for some keys, in their order."""

    keys: tuple[bytes, ...]
    task: asyncio.Task[EntryResults]
    waiters: int = 0

    @property
    def failed(self) -> bool:
        """Tell whether the computation has ended without an answer."""
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)

    async def answers(self) -> EntryResults:
        """Wait for the computation; being cancelled while waiting does not disturb it."""
        return await asyncio.shield(self.task)


@dataclass(frozen=True, slots=True)
class PendingAnswer:
    """Where one key's answer will be: a flight, and a row of its answers."""

    flight: Computation
    row: int


class SingleFlight:
    """The flights of one pipeline, by the keys that they carry."""

    def __init__(self) -> None:
        self._seats: dict[bytes, PendingAnswer] = {}

    def __len__(self) -> int:
        """Return how many keys are being computed."""
        return len(self._seats)

    def find(self, key: bytes) -> PendingAnswer | None:
        """Return the seat of a key that is being computed, or has just been, without failing.

        A flight that failed may not have landed yet: whoever joined it would fail for nothing.
        """
        seat = self._seats.get(key)
        return None if seat is None or seat.flight.failed else seat

    def launch(self, keys: Sequence[bytes], computation: Awaitable[EntryResults]) -> Computation:
        """Start computing the answers for ``keys``, none of which may be in the air already."""
        flight = Computation(tuple(keys), asyncio.ensure_future(computation))
        self._seats.update({key: PendingAnswer(flight, row) for row, key in enumerate(keys)})
        flight.task.add_done_callback(lambda _: self._land(flight))
        return flight

    def board(self, flight: Computation) -> None:
        """Count one more waiter; every call wants a `leave`."""
        flight.waiters += 1

    def leave(self, flight: Computation) -> None:
        """Count one waiter less; without any, the flight is cancelled and nobody can join it."""
        flight.waiters -= 1
        if flight.waiters == 0 and not flight.task.done():
            self._clear(flight)
            flight.task.cancel()

    def _land(self, flight: Computation) -> None:
        self._clear(flight)
        if not flight.task.cancelled():
            flight.task.exception()  # retrieved here: every waiter may have left before it failed

    def _clear(self, flight: Computation) -> None:
        for key in flight.keys:
            seat = self._seats.get(key)
            if seat is not None and seat.flight is flight:
                del self._seats[key]
