"""A shared store that is slow or down is a miss, then is skipped, and is never an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from embedder.cache.store.circuit_breaker import FAILURES, PAUSE_S, CircuitState
from embedder.cache.store.lookup import StoreLookup
from tests.unit.cache.fake_stores import FULL, FakeSharedStore
from tests.unit.cache.known import by_key, key, keys, records
from tests.unit.manual_clock import ManualClock


@pytest.fixture
def store() -> Iterator[FakeSharedStore]:
    """Yield a store with number 1; open its gate at the end."""
    store = FakeSharedStore()
    store.put_many(records([1]))
    yield store
    store.gate.set()


async def test_present_keys_are_found_and_absent_keys_are_not(store: FakeSharedStore) -> None:
    look_up = StoreLookup(store, timeout_s=60)

    found = await look_up.find(keys([1, 2, 3]), 4)

    assert found is not None
    assert by_key([found]) == by_key([records([1])])
    assert (look_up.stats.found, look_up.stats.absent, look_up.stats.skipped) == (1, 2, 0)
    look_up.close()


async def test_a_store_that_takes_too_long_is_a_miss(store: FakeSharedStore) -> None:
    look_up = StoreLookup(store, timeout_s=0.01)
    store.gate.clear()

    assert await look_up.find([key(1)], 4) is None

    assert (look_up.stats.failures, look_up.stats.skipped) == (1, 1)
    store.gate.set()
    look_up.close()


@pytest.mark.parametrize("failure", [FULL, RuntimeError("a bug")])
async def test_a_store_that_keeps_failing_is_skipped_and_tried_after_a_pause(
    store: FakeSharedStore, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock(100.0)
    look_up = StoreLookup(store, timeout_s=60, clock=clock)
    store.failure = failure
    with caplog.at_level(logging.WARNING):
        for _ in range(FAILURES + 3):
            assert await look_up.find([key(1)], 4) is None
    asked = store.calls.count("get_many")
    state = look_up.circuit

    clock.now += PAUSE_S
    store.failure = None
    found = await look_up.find([key(1)], 4)

    assert asked == FAILURES
    assert state is CircuitState.OPEN
    assert found is not None
    assert len(found) == 1
    assert look_up.circuit is CircuitState.CLOSED
    assert (look_up.stats.failures, look_up.stats.skipped) == (FAILURES, FAILURES + 3)
    assert len(caplog.messages) == 2
    look_up.close()


async def test_a_cancelled_caller_does_not_use_up_the_trial(store: FakeSharedStore) -> None:
    clock = ManualClock(100.0)
    look_up = StoreLookup(store, timeout_s=60, clock=clock)
    store.failure = FULL
    for _ in range(FAILURES):
        await look_up.find([key(1)], 4)
    clock.now += PAUSE_S
    store.failure = None
    store.gate.clear()

    trial = asyncio.ensure_future(look_up.find([key(1)], 4))
    await asyncio.sleep(0)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    store.gate.set()

    assert await look_up.find([key(1)], 4) is not None
    look_up.close()
