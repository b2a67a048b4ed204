"""Single-flight: identical inputs of concurrent requests are computed once.

No request owns a computation. It runs while it has waiters and is cancelled when the last one
leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from embedder.core.request import EntryResults


@dataclass(eq=False, slots=True)
class Computation:
    """One running computation of the results for some keys, in their order."""

    keys: tuple[bytes, ...]
    task: asyncio.Task[EntryResults]
    waiters: int = 0

    @property
    def failed(self) -> bool:
        """Tell whether the computation has ended without results."""
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)

    async def results(self) -> EntryResults:
        """Wait for the results; cancelling a waiter does not cancel the computation."""
        return await asyncio.shield(self.task)


@dataclass(frozen=True, slots=True)
class PendingResult:
    """The result of one key: a computation, and the row of its results."""

    computation: Computation
    row: int


class SingleFlight:
    """The running computations of one pipeline, by key."""

    def __init__(self) -> None:
        self._pending: dict[bytes, PendingResult] = {}

    def __len__(self) -> int:
        """Return the number of keys that are being computed."""
        return len(self._pending)

    def find(self, key: bytes) -> PendingResult | None:
        """Return the pending result of a key, or None if the key is not being computed.

        A failed computation may not have been removed yet; it is not returned, because a caller
        that joins it would fail for no reason of its own.
        """
        pending = self._pending.get(key)
        return None if pending is None or pending.computation.failed else pending

    def start(self, keys: Sequence[bytes], results: Awaitable[EntryResults]) -> Computation:
        """Start computing the results of ``keys``, none of which is being computed yet."""
        computation = Computation(tuple(keys), asyncio.ensure_future(results))
        self._pending.update({key: PendingResult(computation, row) for row, key in enumerate(keys)})
        computation.task.add_done_callback(lambda _: self._complete(computation))
        return computation

    def join(self, computation: Computation) -> None:
        """Add a waiter; every call needs a `leave`."""
        computation.waiters += 1

    def leave(self, computation: Computation) -> None:
        """Remove a waiter; the last one cancels the computation, which no request can join then."""
        computation.waiters -= 1
        if computation.waiters == 0 and not computation.task.done():
            self._remove(computation)
            computation.task.cancel()

    def _complete(self, computation: Computation) -> None:
        self._remove(computation)
        if not computation.task.cancelled():
            computation.task.exception()  # retrieved, since all waiters may have left before

    def _remove(self, computation: Computation) -> None:
        for key in computation.keys:
            pending = self._pending.get(key)
            if pending is not None and pending.computation is computation:
                del self._pending[key]
