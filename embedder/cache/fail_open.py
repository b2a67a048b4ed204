"""A shared cache that fails open: if it is slow, down or full, a lookup is a miss, not an error.

It wraps any `Caching` stage with a time limit, a circuit breaker, and a buffer of insertions.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from embedder.cache.store.circuit_breaker import CircuitBreaker, CircuitState
from embedder.core.deadline import Deadline
from embedder.core.entries.blobs import ASSUMED_BYTES
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.entries import Entries
from embedder.core.protocols import Caching

TIMEOUT_S = 0.05
"""About the time to embed a few texts: a longer lookup saves nothing."""

TIMEOUT_BYTES = 2**20
"""A lookup gets the timeout once more for each of this many bytes that it may return. Embedding
would take longer too, and a large lookup that is slow does not mean that the cache fails."""

INSERTION_TIMEOUT_S = 5.0
MAX_WAITING_BYTES = 32 * 2**20
"""Vectors that may wait for a slow cache; more are dropped, since they would fill the memory."""


@dataclass(frozen=True, slots=True)
class SharedCacheState:
    """The state of a shared cache as its client sees it.

    ``failures`` counts lookups and insertions that failed or timed out, ``opened`` how often the
    circuit breaker has opened, ``pending`` the insertions that have not completed.
    """

    name: str
    circuit: CircuitState
    failures: int
    opened: int
    pending: int


class FailOpenCache:
    """Lookups within a timeout, and insertions in the background. ``name`` is for the log.

    The timeout is ``timeout_s``, and longer for a lookup that may return many bytes. Insertions
    that come during a call share the next one, which starts at least ``pause_s`` later.
    """

    def __init__(
        self,
        cache: Caching,
        *,
        name: str = "cache",
        timeout_s: float = TIMEOUT_S,
        pause_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._name = name
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._circuit = CircuitBreaker(name, clock=clock)
        self._waiting: list[tuple[Sequence[bytes], Entries]] = []
        self._waiting_bytes = 0
        self._in_flight = 0
        self._dropped = 0
        self._sending: asyncio.Task[None] | None = None

    @property
    def state(self) -> SharedCacheState:
        """Return the state of the cache."""
        circuit = self._circuit
        return SharedCacheState(
            self._name,
            circuit.state,
            circuit.failures + self._dropped,
            circuit.opened,
            len(self._waiting) + self._in_flight,
        )

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the hits of the cache, or none if it does not answer in time."""
        seconds = self._timeout_s * (1 + len(keys) * (4 * width or ASSUMED_BYTES) / TIMEOUT_BYTES)
        hits = await self._circuit.run(partial(self._cache.get_many, keys, width), seconds)
        return CacheHits.empty(width) if hits is None else hits

    def put_later(self, keys: Sequence[bytes], entries: Entries) -> None:
        """Collect entries for the next call with insertions; drop them if too much waits."""
        # Only lookups are trials: an insertion would be lost if the trial failed.
        if self._circuit.state is not CircuitState.CLOSED:
            return
        if self._waiting_bytes >= MAX_WAITING_BYTES:
            self._dropped += 1
            return
        self._waiting.append((keys, entries))
        self._waiting_bytes += (
            entries.vectors.nbytes if entries.vectors.ndim == 2 else entries.nbytes
        )
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send_waiting())

    async def _send_waiting(self) -> None:
        """Send all insertions that wait, one call for each width, until none has come since."""
        while self._waiting:
            by_width: dict[int, list[tuple[Sequence[bytes], Entries]]] = defaultdict(list)
            for keys, entries in self._waiting:
                by_width[entries.width].append((keys, entries))
            self._in_flight = len(self._waiting)
            self._waiting, self._waiting_bytes = [], 0
            try:
                for insertions in by_width.values():
                    await self._insert(insertions)
            finally:
                self._in_flight = 0
            await asyncio.sleep(self._pause_s)

    async def _insert(self, insertions: Sequence[tuple[Sequence[bytes], Entries]]) -> None:
        keys = [key for some, _ in insertions for key in some]
        entries = Entries.concatenate([entries for _, entries in insertions])
        try:
            async with Deadline.after(INSERTION_TIMEOUT_S).limit():
                await self._cache.put_many(keys, entries)
        except Exception as error:  # noqa: BLE001 - no request needs it
            for _ in insertions:
                self._circuit.failed(error)
