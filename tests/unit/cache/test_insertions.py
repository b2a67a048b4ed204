"""Insertions into a shared cache wait in a bounded buffer and share calls."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from embedder.cache import fail_open
from embedder.cache.fail_open import FailOpenCache
from embedder.cache.store.circuit_breaker import FAILURES as TIMES
from embedder.cache.store.circuit_breaker import PAUSE_S, CircuitState
from embedder.core.entries.entries import Entries
from tests.unit.cache.fake_shared_cache import ENTRIES, KEYS, WIDTH, FakeSharedCache, settle
from tests.unit.virtual_time import VirtualTime


async def test_only_a_lookup_is_a_trial() -> None:
    """A failing insert would be lost; a failing lookup is only a miss."""
    now = 0.0
    shared_cache = FakeSharedCache(failure=ConnectionError())
    cache = FailOpenCache(shared_cache, clock=lambda: now)
    for _ in range(TIMES):
        await cache.get_many(KEYS, WIDTH)
    now = PAUSE_S
    shared_cache.mend()
    cache.put_later(KEYS, ENTRIES)
    await settle()

    assert shared_cache.memory.stats.entries == 0
    assert cache.state.circuit is CircuitState.OPEN


async def test_an_insert_does_not_block_its_caller() -> None:
    shared_cache = FakeSharedCache(delay_s=0.05)
    cache = FailOpenCache(shared_cache)

    cache.put_later(KEYS, ENTRIES)
    before = shared_cache.memory.stats.entries
    await settle()

    assert before == 0
    assert shared_cache.memory.stats.entries == 2


def _rows(count: int, width: int = WIDTH, first: int = 0) -> tuple[list[bytes], Entries]:
    keys = [number.to_bytes(32, "big") for number in range(first, first + count)]
    entries = Entries.allocate(count, width)
    entries.vectors[:] = np.arange(first, first + count, dtype=np.float32)[:, None]
    return keys, entries


async def test_insertions_that_come_during_a_call_share_the_next_one(
    virtual_time: VirtualTime,
) -> None:
    shared_cache = FakeSharedCache(delay_s=1.0)
    cache = FailOpenCache(shared_cache, pause_s=2.0)
    cache.put_later(*_rows(1))
    await asyncio.sleep(0)
    for first in range(1, 10, 3):
        cache.put_later(*_rows(3, first=first))
    assert cache.state.pending == 4
    await asyncio.sleep(2.9)
    assert (shared_cache.inserted, cache.state.pending) == ([(1, WIDTH)], 3)
    await asyncio.sleep(1.2)
    hits = shared_cache.memory.get_many(_rows(10)[0], WIDTH)

    assert shared_cache.inserted == [(1, WIDTH), (9, WIDTH)]
    assert hits.entries.vectors[:, 0].tolist() == list(range(10))
    assert cache.state.pending == 0
    await settle()


async def test_insertions_of_two_widths_are_sent_separately() -> None:
    shared_cache = FakeSharedCache()
    cache = FailOpenCache(shared_cache)
    for first, width in enumerate((8, 4, 8, 4)):
        cache.put_later(*_rows(1, width, first))
    await settle()

    assert shared_cache.inserted == [(2, 8), (2, 4)]


async def test_insertions_that_wait_are_limited(
    virtual_time: VirtualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fail_open, "MAX_WAITING_BYTES", 100 * ENTRIES.vectors.nbytes)
    cache = FailOpenCache(FakeSharedCache(delay_s=1.0))
    cache.put_later(KEYS, ENTRIES)
    await asyncio.sleep(0)
    for _ in range(110):
        cache.put_later(KEYS, ENTRIES)

    assert cache.state.pending == 101
    assert cache.state.failures == 10
    assert cache.state.circuit is CircuitState.CLOSED
    await settle()


async def test_one_insertion_larger_than_the_limit_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fail_open, "MAX_WAITING_BYTES", 1)
    shared_cache = FakeSharedCache()
    cache = FailOpenCache(shared_cache)
    cache.put_later(KEYS, ENTRIES)
    await settle()

    assert shared_cache.memory.stats.entries == 2


async def test_insertions_that_take_too_long_are_dropped_and_later_ones_are_sent(
    virtual_time: VirtualTime,
) -> None:
    shared_cache = FakeSharedCache(delay_s=60)
    cache = FailOpenCache(shared_cache)
    for first in range(3):
        cache.put_later(*_rows(1, first=first))
    await settle()
    assert (cache.state.failures, cache.state.pending, shared_cache.cancelled) == (3, 0, 1)
    shared_cache.delay_s = 0
    cache.put_later(KEYS, ENTRIES)
    await settle()

    assert shared_cache.memory.stats.entries == 2


async def test_insertions_continue_after_their_task_was_cancelled() -> None:
    shared_cache = FakeSharedCache(delay_s=60)
    cache = FailOpenCache(shared_cache)
    cache.put_later(KEYS, ENTRIES)
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await settle()
    shared_cache.delay_s = 0
    cache.put_later(KEYS, ENTRIES)
    await settle()

    assert (shared_cache.memory.stats.entries, cache.state.pending) == (2, 0)
