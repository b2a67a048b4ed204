"""Look up in a shared store what memory lacks, within a time limit and without raising errors.

A store that is slow or down causes misses; after a few failures it is not asked at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from embedder.cache.store.circuit_breaker import CircuitBreaker, CircuitState
from embedder.cache.store.protocol import SharedStore
from embedder.cache.store.records import Records

TIMEOUT_S = 0.025
"""Half of the callers' timeout for this cache, so that hits of memory reach them in time."""

THREADS = 4
"""Concurrent lookups; writing has a thread of its own."""


@dataclass(slots=True)
class LookupStats:
    """Counters of keys: ``found`` and ``absent`` were asked for, ``skipped`` were not."""

    found: int = 0
    absent: int = 0
    skipped: int = 0
    failures: int = 0


class StoreLookup:
    """Lookups that wait at most ``timeout_s`` each."""

    def __init__(
        self,
        store: SharedStore,
        *,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stats = LookupStats()
        self._store = store
        self._timeout_s = timeout_s
        self._circuit = CircuitBreaker("the shared cache store", clock=clock)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="cache-look-up")

    @property
    def circuit(self) -> CircuitState:
        """Return the state of the circuit breaker."""
        return self._circuit.state

    async def find(self, keys: Sequence[bytes], width: int) -> Records | None:
        """Return the store's records in any order, or None if it failed or was not asked."""
        records = await self._circuit.run(partial(self._ask, keys, width), self._timeout_s)
        self.stats.failures = self._circuit.failures
        if records is None:
            self.stats.skipped += len(keys)
            return None
        self.stats.found += len(records)
        self.stats.absent += len(keys) - len(records)
        return records

    def close(self) -> None:
        """Start no more lookups."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, keys: Sequence[bytes], width: int) -> Awaitable[Records]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, self._store.get_many, keys, width)
