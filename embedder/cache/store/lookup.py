"""Asks a store that others share for what memory lacks: within a time, and never with an error.

Knows nothing of memory. A store that is slow or gone costs misses, and soon not even time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from embedder.cache.store.circuit_breaker import CircuitBreaker, CircuitState
from embedder.cache.store.protocol import SharedStore
from embedder.cache.store.records import Records
from embedder.core.time_limit import wait_within

logger = logging.getLogger(__name__)

TIMEOUT_S = 0.025
"""Half of what whoever asks this cache waits for it: what memory had must reach them in time."""

THREADS = 4
"""How many questions may be under way: beside writing, which has a thread of its own."""


@dataclass(slots=True)
class LookupStats:
    """Counters of keys: ``found`` and ``absent`` were asked for, ``skipped`` were not."""

    found: int = 0
    absent: int = 0
    skipped: int = 0
    failures: int = 0


class StoreLookup:
    """Waits at most ``timeout_s`` for each answer."""

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
        self._circuit = CircuitBreaker(clock=clock)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="cache-look-up")

    @property
    def circuit(self) -> CircuitState:
        """Tell whether the store is asked: it is left alone after several failures."""
        return self._circuit.state

    async def find(self, keys: Sequence[bytes], width: int) -> Records | None:
        """Return what the store has, in any order, or None where it does not say in time."""
        if not self._circuit.allows_call():
            self.stats.skipped += len(keys)
            return None
        loop = asyncio.get_running_loop()
        try:
            asked = loop.run_in_executor(self._threads, self._store.get_many, keys, width)
            records = await wait_within(asked, self._timeout_s)
        except Exception as error:  # noqa: BLE001 - whatever ails the store, it is a miss
            self._failed(error)
            self.stats.skipped += len(keys)
            return None
        except BaseException:
            self._circuit.left()
            raise
        self._succeeded()
        self.stats.found += len(records)
        self.stats.absent += len(keys) - len(records)
        return records

    def close(self) -> None:
        """Ask no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _failed(self, error: Exception) -> None:
        opened = self._circuit.opened
        self.stats.failures += 1
        self._circuit.failed()
        if self._circuit.opened > opened:
            logger.error("the shared cache fails and is left alone: %s", _reason(error))

    def _succeeded(self) -> None:
        if self._circuit.state is not CircuitState.CLOSED:
            logger.warning("the shared cache answers again")
        self._circuit.succeeded()


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "")) or type(error).__name__
