"""A shared cache that is slow, failing or down is a miss and never an error."""

from __future__ import annotations

import asyncio
import logging

import pytest

from embedder.cache.fail_open import FailOpenCache
from embedder.cache.store.circuit_breaker import FAILURES as TIMES
from embedder.cache.store.circuit_breaker import PAUSE_S, CircuitState
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.errors import Overloaded, StageUnavailable
from tests.unit.cache.fake_shared_cache import ENTRIES, KEYS, WIDTH, FakeSharedCache, settle
from tests.unit.virtual_time import VirtualTime

FAILURES = [StageUnavailable("cache", "gone"), Overloaded(1.0), ConnectionError(), RuntimeError()]
every_failure = pytest.mark.parametrize("failure", FAILURES, ids=lambda error: type(error).__name__)


def _assert_nothing(hits: CacheHits) -> None:
    assert hits.rows.tolist() == []
    assert hits.entries.vectors.shape == (0, WIDTH)
    assert len(hits.entries) == 0


async def test_inserted_entries_are_found() -> None:
    cache = FailOpenCache(FakeSharedCache())

    cache.put_later(KEYS, ENTRIES)
    await settle()
    hits = await cache.get_many([b"x" * 32, *KEYS], WIDTH)

    assert hits.rows.tolist() == [1, 2]
    assert hits.entries.vectors.tolist() == ENTRIES.vectors.tolist()
    assert hits.entries.token_counts.tolist() == [4, 5]
    assert hits.entries.truncated.tolist() == [True, False]
    assert cache.state.failures == 0


async def test_a_slow_cache_is_a_miss_after_the_timeout(virtual_time: VirtualTime) -> None:
    shared_cache = FakeSharedCache(delay_s=60)
    cache = FailOpenCache(shared_cache, timeout_s=0.02)
    start_s = virtual_time()

    hits = await cache.get_many(KEYS, WIDTH)

    assert virtual_time() - start_s < 0.03
    assert shared_cache.cancelled == 1
    assert cache.state.failures == 1
    _assert_nothing(hits)


async def test_a_large_lookup_has_more_time_than_a_small_one(virtual_time: VirtualTime) -> None:
    shared_cache = FakeSharedCache(delay_s=0.3)
    cache = FailOpenCache(shared_cache, timeout_s=0.05)
    keys = [number.to_bytes(32, "big") for number in range(2048)]

    await cache.get_many(keys, 768)  # 6 MiB
    assert cache.state.failures == 0
    await cache.get_many(keys, WIDTH)
    assert cache.state.failures == 1


@every_failure
async def test_a_failing_lookup_is_a_miss(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    cache = FailOpenCache(FakeSharedCache(failure=failure))

    with caplog.at_level(logging.WARNING):
        for _ in range(TIMES):
            _assert_nothing(await cache.get_many(KEYS, WIDTH))

    assert cache.state.failures == TIMES
    assert caplog.text.count(type(failure).__name__) == 1


@every_failure
async def test_a_failing_insert_is_dropped(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    cache = FailOpenCache(FakeSharedCache(failure=failure))

    with caplog.at_level(logging.WARNING):
        for _ in range(TIMES):
            cache.put_later(KEYS, ENTRIES)
        await settle()

    assert cache.state.failures == TIMES
    assert caplog.text.count(type(failure).__name__) == 1


async def test_a_cancelled_caller_is_not_a_failure_of_the_cache() -> None:
    cache = FailOpenCache(FakeSharedCache(delay_s=60), timeout_s=60)
    lookup = asyncio.ensure_future(cache.get_many(KEYS, WIDTH))
    await asyncio.sleep(0)

    lookup.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lookup

    assert cache.state.failures == 0


async def test_a_failing_cache_is_skipped_and_tried_after_a_pause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    shared_cache = FakeSharedCache(failure=ConnectionError())
    cache = FailOpenCache(shared_cache, clock=lambda: now)
    for _ in range(TIMES + 5):
        _assert_nothing(await cache.get_many(KEYS, WIDTH))
        cache.put_later(KEYS, ENTRIES)
        await settle()
    failures_while_open, state = cache.state.failures, cache.state.circuit
    now = PAUSE_S
    shared_cache.mend()
    shared_cache.memory.put_many(KEYS, ENTRIES)
    found = await cache.get_many(KEYS, WIDTH)

    assert failures_while_open == TIMES
    assert state is CircuitState.OPEN
    assert found.rows.tolist() == [0, 1]
    assert cache.state.circuit is CircuitState.CLOSED
    assert cache.state.opened == 1
    assert [record.message.split(";")[0] for record in caplog.records] == [
        "cache fails",
        "cache answers again",
    ]


async def test_after_a_cancelled_trial_the_next_lookup_is_the_trial() -> None:
    now = 0.0
    shared_cache = FakeSharedCache(failure=ConnectionError())
    cache = FailOpenCache(shared_cache, clock=lambda: now, timeout_s=60)
    for _ in range(TIMES):
        await cache.get_many(KEYS, WIDTH)
    now = PAUSE_S
    shared_cache.mend()
    shared_cache.delay_s = 60
    trial = asyncio.ensure_future(cache.get_many(KEYS, WIDTH))
    await asyncio.sleep(0)
    trial.cancel()
    await settle()
    shared_cache.delay_s = 0
    await cache.get_many(KEYS, WIDTH)

    assert cache.state.circuit is CircuitState.CLOSED
