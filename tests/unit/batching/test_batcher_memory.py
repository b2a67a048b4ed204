"""A batcher whose device runs out of memory for a while, and the batcher's statistics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from embedder.batching.adaptive_budget import GROWTH_SUCCESSES
from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.core.errors import OutOfMemory
from tests.unit.batching.manual_device import ROOMY, ManualDevice, run_until_idle, started


class LimitedDevice:
    """Returns the items of a batch; more than ``capacity`` of them do not fit."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.sizes: list[int] = []

    async def run(self, items: list[int], context: BatchContext) -> Sequence[int]:
        self.sizes.append(len(items))
        if len(items) > self.capacity:
            raise OutOfMemory("full")
        return items


async def send(batcher: Batcher[int, int], items: int, calls: int = 1) -> None:
    """Make ``calls`` submissions of ``items`` items of one token, one after the other."""
    for _ in range(calls):
        assert await batcher.submit(range(items), [1] * items) == list(range(items))


async def test_a_reduced_budget_is_restored_after_enough_full_batches() -> None:
    device = LimitedDevice(capacity=8)
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


async def test_small_batches_do_not_restore_the_budget() -> None:
    device = LimitedDevice(capacity=8)
    batcher = Batcher(device.run, budget=Budget(max_tokens=16))
    await send(batcher, 16)
    await send(batcher, 3, calls=5 * GROWTH_SUCCESSES)

    assert batcher.budget.max_tokens == 8


async def test_padding_counts_towards_how_full_a_batch_is() -> None:
    device = LimitedDevice(capacity=1)
    batcher = Batcher(device.run, budget=Budget(max_tokens=16, padded=True))
    await batcher.submit([1, 2], [8, 8])
    device.capacity = 2
    halved = batcher.budget.max_tokens
    for _ in range(GROWTH_SUCCESSES):
        await batcher.submit([1, 2], [2, 1])  # four of eight budgeted tokens, with padding

    assert (halved, batcher.budget.max_tokens) == (8, 16)


async def test_a_larger_budget_is_tried_again_and_all_callers_get_results() -> None:
    device = LimitedDevice(capacity=8)
    batcher = Batcher(device.run, budget=Budget(max_tokens=16))
    await send(batcher, 16, calls=2 * GROWTH_SUCCESSES)

    assert batcher.budget.max_tokens == 8
    assert 1 < batcher.stats.out_of_memory == device.sizes.count(16) < 5


async def test_stats_report_the_present_budget_and_out_of_memory_errors() -> None:
    device = LimitedDevice(capacity=8)
    batcher = Batcher(device.run, budget=Budget(max_tokens=32))
    at_first = batcher.stats.budget_tokens
    await send(batcher, 32)

    assert (at_first, batcher.stats.budget_tokens) == (32, 8)
    assert batcher.stats.out_of_memory == device.sizes.count(32) + device.sizes.count(16) == 3


async def test_a_single_item_that_does_not_fit_is_counted() -> None:
    batcher = Batcher(LimitedDevice(capacity=0).run, budget=ROOMY)
    with pytest.raises(OutOfMemory):
        await send(batcher, 1)

    assert batcher.stats.out_of_memory == 1
    assert batcher.stats.budget_tokens == ROOMY.max_tokens


@pytest.mark.parametrize(("padded", "expected"), [(True, 12), (False, 9)])
async def test_the_largest_batch_is_measured_by_its_cost(padded: bool, expected: int) -> None:
    batcher = Batcher(LimitedDevice(capacity=8).run, budget=Budget(max_tokens=100, padded=padded))
    await batcher.submit([1, 2], [6, 3])
    await batcher.submit([1], [5])

    assert batcher.stats.largest_batch_tokens == expected


async def test_a_failed_batch_does_not_count_as_the_largest() -> None:
    batcher = Batcher(LimitedDevice(capacity=8).run, budget=ROOMY)
    await send(batcher, 16)

    assert batcher.stats.largest_batch_tokens == 8


async def test_busy_time_counts_overlaps_once_and_excludes_idle_time() -> None:
    now = [100.0]
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY, slots=2, clock=lambda: now[0])
    seen = []

    async def ends(number: int, *, at: float) -> None:
        now[0] = at
        await device.end(number)
        seen.append(batcher.stats.busy_s)

    async def starts(*, at: float) -> None:
        now[0] = at
        await started(batcher, [1])

    await starts(at=110.0)
    await starts(at=111.0)
    await ends(0, at=114.0)
    await ends(1, at=115.0)
    await starts(at=150.0)
    await ends(2, at=152.0)

    assert seen == [4.0, 5.0, 7.0]


async def test_back_to_back_batches_are_busy_all_the_time() -> None:
    now = [0.0]
    device = ManualDevice()
    batcher = Batcher(device.run, budget=Budget(max_tokens=1), clock=lambda: now[0])
    task = await started(batcher, range(5))
    for number in range(5):
        now[0] += 2.0
        await device.end(number)

    assert task.done()
    assert batcher.stats.busy_s == 10.0


@pytest.mark.parametrize("cancelled", [True, False])
async def test_failed_and_cancelled_batches_count_as_busy(cancelled: bool) -> None:
    now = [0.0]
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY, cancel_abandoned=True, clock=lambda: now[0])
    task = await started(batcher, [1])
    now[0] = 3.0
    if cancelled:
        task.cancel()
    else:
        device.pending[0].set_exception(ValueError("broken"))
    await asyncio.wait([task])
    await run_until_idle()

    assert batcher.stats.busy_s == 3.0
    assert batcher.idle
