"""A batcher whose device runs out of memory for a while, and the counters an operator reads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from embedder.batching.adaptive_budget import GROWTH_SUCCESSES
from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.core.errors import OutOfMemory
from tests.unit.batching.manual_device import ROOMY, Device, run_until_idle, start


class Memory:
    """A device that answers batches of at most ``capacity`` items, each its own result."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.sizes: list[int] = []

    async def run(self, items: list[int], context: BatchContext) -> Sequence[int]:
        self.sizes.append(len(items))
        if len(items) > self.capacity:
            raise OutOfMemory("full")
        return items


async def send(batcher: Batcher[int, int], items: int, calls: int = 1) -> None:
    """Submit calls of items of one token each, one call after the other."""
    for _ in range(calls):
        assert await batcher.submit(range(items), [1] * items) == list(range(items))


async def test_a_budget_that_was_halved_is_given_back_after_enough_full_batches() -> None:
    device = Memory(capacity=8)
    batcher = Batcher(device.run, budget=Budget(max_tokens=32, max_items=500, bulk_delay_s=3.0))
    await send(batcher, 32)
    during = batcher.budget
    device.capacity = 32
    await send(batcher, 32, calls=3 * GROWTH_SUCCESSES)
    device.sizes.clear()
    await send(batcher, 32)

    assert during == Budget(max_tokens=8, max_items=500, bulk_delay_s=3.0)
    assert batcher.budget == Budget(max_tokens=32, max_items=500, bulk_delay_s=3.0)
    assert device.sizes == [32]


async def test_batches_that_are_small_prove_nothing() -> None:
    device = Memory(capacity=8)
    batcher = Batcher(device.run, budget=Budget(max_tokens=16))
    await send(batcher, 16)
    await send(batcher, 3, calls=5 * GROWTH_SUCCESSES)

    assert batcher.budget.max_tokens == 8


async def test_a_padded_batch_is_as_full_as_its_padding_makes_it() -> None:
    device = Memory(capacity=1)
    batcher = Batcher(device.run, budget=Budget(max_tokens=16, padded=True))
    await batcher.submit([1, 2], [8, 8])
    device.capacity = 2
    halved = batcher.budget.max_tokens
    for _ in range(GROWTH_SUCCESSES):
        await batcher.submit([1, 2], [2, 1])  # four tokens of the eight allowed, three of content

    assert (halved, batcher.budget.max_tokens) == (8, 16)


async def test_memory_that_stays_short_is_tried_again_and_everybody_is_answered() -> None:
    device = Memory(capacity=8)
    batcher = Batcher(device.run, budget=Budget(max_tokens=16))
    await send(batcher, 16, calls=2 * GROWTH_SUCCESSES)

    assert batcher.budget.max_tokens == 8
    assert 1 < batcher.stats.out_of_memory == device.sizes.count(16) < 5


async def test_the_counters_tell_the_budget_in_force_and_how_often_memory_ran_out() -> None:
    device = Memory(capacity=8)
    batcher = Batcher(device.run, budget=Budget(max_tokens=32))
    at_first = batcher.stats.budget_tokens
    await send(batcher, 32)

    assert (at_first, batcher.stats.budget_tokens) == (32, 8)
    assert batcher.stats.out_of_memory == device.sizes.count(32) + device.sizes.count(16) == 3


async def test_an_item_that_does_not_fit_alone_is_counted_too() -> None:
    batcher = Batcher(Memory(capacity=0).run, budget=ROOMY)
    with pytest.raises(OutOfMemory):
        await send(batcher, 1)

    assert batcher.stats.out_of_memory == 1
    assert batcher.stats.budget_tokens == ROOMY.max_tokens


@pytest.mark.parametrize(("padded", "expected"), [(True, 12), (False, 9)])
async def test_the_largest_batch_is_counted_as_the_budget_counts(
    padded: bool, expected: int
) -> None:
    batcher = Batcher(Memory(capacity=8).run, budget=Budget(max_tokens=100, padded=padded))
    await batcher.submit([1, 2], [6, 3])
    await batcher.submit([1], [5])

    assert batcher.stats.largest_batch_tokens == expected


async def test_a_batch_that_failed_is_not_the_largest() -> None:
    batcher = Batcher(Memory(capacity=8).run, budget=ROOMY)
    await send(batcher, 16)

    assert batcher.stats.largest_batch_tokens == 8


async def test_busy_time_counts_overlapping_batches_once_and_idle_time_not_at_all() -> None:
    now = [100.0]
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY, slots=2, clock=lambda: now[0])
    seen = []

    async def ends(number: int, *, at: float) -> None:
        now[0] = at
        await device.end(number)
        seen.append(batcher.stats.busy_s)

    async def starts(*, at: float) -> None:
        now[0] = at
        start(batcher, [1])
        await run_until_idle()

    await starts(at=110.0)
    await starts(at=111.0)
    await ends(0, at=114.0)
    await ends(1, at=115.0)
    await starts(at=150.0)
    await ends(2, at=152.0)

    assert seen == [4.0, 5.0, 7.0]


async def test_a_slot_that_is_never_idle_is_busy_all_the_time() -> None:
    now = [0.0]
    device = Device()
    batcher = Batcher(device.run, budget=Budget(max_tokens=1), clock=lambda: now[0])
    task = start(batcher, range(5))
    await run_until_idle()
    for number in range(5):
        now[0] += 2.0
        await device.end(number)

    assert task.done()
    assert batcher.stats.busy_s == 10.0


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_batch_that_fails_or_is_cancelled_was_busy_as_well(leaves: bool) -> None:
    now = [0.0]
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY, cancel_abandoned=True, clock=lambda: now[0])
    task = start(batcher, [1])
    await run_until_idle()
    now[0] = 3.0
    if leaves:
        task.cancel()
    else:
        device.gates[0].set_exception(ValueError("broken"))
    await asyncio.wait([task])
    await run_until_idle()

    assert batcher.stats.busy_s == 3.0
    assert batcher.idle
