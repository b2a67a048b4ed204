"""How many requests are in flight: as many as keep the service busy, and no more.

The number grows by one each round trip while requests wait less in the service than they are
computed, shrinks where they wait longer, and is halved where the service refuses one. (Additive
increase, multiplicative decrease: Chiu and Jain, 1989.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType

START = 4
"""Requests in flight of a new client."""

LONG_WAIT = 4
"""A wait in the service of so many times the computation lowers the number."""


class RequestLimit:
    """The number of requests in flight, from 1 to ``highest``; a policy without a clock."""

    def __init__(self, highest: int) -> None:
        self._highest = highest
        self._value = float(min(START, highest))
        self.round = 0
        """Counts the halvings: requests of an earlier round do not halve the number again."""

    @property
    def value(self) -> int:
        """Return the most requests in flight."""
        return int(self._value)

    def answered(self, headers: Mapping[str, str]) -> None:
        """Count an answer, whose headers have the milliseconds of waiting and of computation.

        Without these headers, each answer lets the number grow.
        """
        waited = _milliseconds(headers, "x-queue-time")
        worked = max(1.0, _milliseconds(headers, "x-inference-time"))
        if waited <= worked:
            self._value = min(float(self._highest), self._value + 1 / self._value)
        elif waited > LONG_WAIT * worked:
            self._value = max(1.0, self._value - 1 / self._value)

    def refused(self, round_sent: int) -> None:
        """Count a refusal of a request that was sent in ``round_sent``."""
        if round_sent == self.round:
            self._value = max(1.0, self._value / 2)
            self.round += 1


class InFlight:
    """Holds a place for each request in flight; ``async with`` waits for one, in turn."""

    def __init__(self, limit: RequestLimit) -> None:
        self._limit = limit
        self._count = 0
        self._free = asyncio.Condition()

    async def __aenter__(self) -> None:
        async with self._free:
            await self._free.wait_for(lambda: self._count < self._limit.value)
            self._count += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        async with self._free:
            self._count -= 1
            self._free.notify_all()


def _milliseconds(headers: Mapping[str, str], name: str) -> float:
    value = headers.get(name, "")
    return float(value) if value.isascii() and value.isdigit() else 0.0
