"""A shared cache that fails open: if it is slow, down or full, a lookup is a miss, not an error.

It wraps any `Caching` stage with a time limit and a circuit breaker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embedder.cache.store.circuit_breaker import CircuitBreaker, CircuitState
from embedder.core.deadline import Deadline
from embedder.core.protocols import Caching
from embedder.core.types import CacheHits, Entries

logger = logging.getLogger(__name__)

TIMEOUT_S = 0.05
"""About the time to embed a few texts: a longer lookup saves nothing."""

TIMEOUT_BYTES = 2**20
"""A lookup gets the timeout once more for each of this many bytes that it may return."""

INSERT_TIMEOUT_S = 5.0
MAX_PENDING_INSERTS = 256
"""Pending inserts of a slow cache; more are dropped, since they would fill the memory."""


@dataclass(frozen=True, slots=True)
class SharedCacheState:
    """The state of a shared cache as its client sees it.

    ``failures`` counts lookups and inserts that failed or timed out, ``opened`` how often the
    circuit breaker has opened, ``pending`` the inserts that have not completed.
    """

    name: str
    circuit: CircuitState
    failures: int
    opened: int
    pending: int


class FailOpenCache:
    """Lookups within a timeout, and inserts in the background. ``name`` is for the log.

    The timeout is ``timeout_s``, and longer for a lookup that may return many bytes.
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
        """Return the state of the cache."""
        circuit = self._circuit
        return SharedCacheState(
            self._name, circuit.state, self._failures, circuit.opened, len(self._inserts)
        )

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the hits of the cache, or none if it does not answer in time."""
        if not self._circuit.allows_call():
            return CacheHits.empty(width)
        try:
            async with Deadline.after(self._lookup_s(len(keys) * width * 4)).limit():
                hits = await self._cache.get_many(keys, width)
        except asyncio.CancelledError:
            self._circuit.abandoned()
            raise
        except Exception as error:  # noqa: BLE001 - any error is a miss
            self._failed(error)
            return CacheHits.empty(width)
        self._succeeded()
        return hits

    def _lookup_s(self, size: int) -> float:
        """Return the timeout of a lookup of ``size`` bytes.

        Embedding would take longer for a larger lookup too, and a large lookup that is slow does
        not mean that the cache fails.
        """
        return self._timeout_s * (1 + size / TIMEOUT_BYTES)

    def put_later(self, keys: Sequence[bytes], entries: Entries) -> None:
        """Send entries to the cache without waiting for it."""
        # Only lookups are trials: an insert would be lost if the trial failed.
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
            async with Deadline.after(INSERT_TIMEOUT_S).limit():
                await self._cache.put_many(keys, entries)
        except Exception as error:  # noqa: BLE001 - the request does not need it
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
