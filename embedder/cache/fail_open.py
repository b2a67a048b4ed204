"""A far cache that can only help: slow, dead or full, it costs a miss and never an error.

Wraps any `Caching` stage with a time budget and a circuit breaker. Knows nothing of where that
stage lives.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedder.cache.store.circuit_breaker import CircuitBreaker, CircuitState
from embedder.core.protocols import Caching
from embedder.core.time_limit import wait_within
from embedder.core.types import CacheHits, Entries

logger = logging.getLogger(__name__)

TIMEOUT_S = 0.05
"""About what embedding a few texts takes: a lookup that takes longer saves nobody anything."""

TIMEOUT_BYTES = 2**20
"""A lookup has its time-out once more for each of so many bytes that it may bring."""

INSERT_TIMEOUT_S = 5.0
MAX_PENDING_INSERTS = 256
"""Inserts of a cache that does not take them are dropped above this; they would fill the memory."""


@dataclass(frozen=True, slots=True)
class SharedCacheState:
    """What a caller has seen of a far cache.

    ``failures`` counts lookups and inserts that came to nothing, ``opened`` how often the circuit
    has opened, ``pending`` the inserts that are on their way or arrived a moment ago.
    """

    name: str
    circuit: CircuitState
    failures: int
    opened: int
    pending: int


class FailOpenCache:
    """Look up within a time-out; insert behind the caller's back. ``name`` is for the log.

    The time-out is ``timeout_s``, and longer for a lookup that may bring much.
    """

    def __init__(
        self,
        cache: Caching,
        *,
        name: str = "cache",
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._name = name
        self._timeout_s = timeout_s
        self._circuit = CircuitBreaker(clock=clock)
        self._failures = 0
        self._inserts: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> SharedCacheState:
        """Return what has been seen of the cache."""
        circuit = self._circuit
        return SharedCacheState(
            self._name, circuit.state, self._failures, circuit.opened, len(self._inserts)
        )

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return what the cache has, or nothing where it does not answer in time."""
        if not self._circuit.allows_call():
            return CacheHits.empty(width)
        try:
            seconds = self._lookup_s(len(keys) * width * 4)
            hits = await wait_within(self._cache.get_many(keys, width), seconds)
        except asyncio.CancelledError:
            self._circuit.left()
            raise
        except Exception as error:  # noqa: BLE001 - whatever ails a cache, it is a miss
            self._failed(error)
            return CacheHits.empty(width)
        self._succeeded()
        return hits

    def _lookup_s(self, size: int) -> float:
        """Return how long a lookup of so many bytes may take.

        The larger it is, the longer its embedding would take too; and that a large one is slow says
        nothing of the health of the cache.
        """
        return self._timeout_s * (1 + size / TIMEOUT_BYTES)

    def put_later(self, keys: Sequence[bytes], entries: Entries) -> None:
        """Send entries to the cache without waiting for it."""
        # Only lookups try a cache that failed: an insert would be lost where the trial fails.
        if self._circuit.state is not CircuitState.CLOSED:
            return
        if len(self._inserts) >= MAX_PENDING_INSERTS:
            self._failures += 1
            return
        task = asyncio.get_running_loop().create_task(self._put(keys, entries))
        # The loop keeps only weak references to tasks.
        self._inserts.add(task)
        task.add_done_callback(self._inserts.discard)

    async def _put(self, keys: Sequence[bytes], entries: Entries) -> None:
        try:
            await wait_within(self._cache.put_many(keys, entries), INSERT_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 - the answer is on its way without it
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        was = self._circuit.state
        self._circuit.failed()
        if was is CircuitState.CLOSED and self._circuit.state is CircuitState.OPEN:
            logger.warning("%s fails; requests are computed without it: %r", self._name, error)

    def _succeeded(self) -> None:
        if self._circuit.state is not CircuitState.CLOSED:
            logger.warning("%s answers again", self._name)
        self._circuit.succeeded()
