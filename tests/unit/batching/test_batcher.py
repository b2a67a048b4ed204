"""When a batcher forms batches, and the order of its results."""

from __future__ import annotations

import asyncio

import pytest

from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget, Slots
from embedder.core.types import Priority
from tests.unit.batching.manual_device import ROOMY, ManualDevice, run_until_idle, start, started


async def test_an_idle_batcher_runs_an_item_at_once() -> None:
    device = ManualDevice()
    await started(Batcher(device.run, budget=ROOMY), [1])

    assert device.batches == [[1]]


async def test_callers_of_the_same_loop_iteration_share_a_batch() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY)
    for item in range(5):
        start(batcher, [item])
    await run_until_idle()

    assert device.batches == [[0, 1, 2, 3, 4]]


async def test_items_submitted_during_a_run_share_the_next_batch() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY)
    for item in (1, 2, 3, 4):
        await started(batcher, [item])
    waiting = len(batcher)
    await device.end(0)

    assert waiting == 3
    assert device.batches == [[1], [2, 3, 4]]
    assert len(batcher) == 0


async def test_a_caller_gets_its_own_results_in_order() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=Budget(max_tokens=20, padded=True))
    lengths = [[9, 1, 5, 2], [2, 8, 1], [5, 5]]
    tasks = [
        asyncio.create_task(batcher.submit(range(at * 100, at * 100 + len(row)), row))
        for at, row in enumerate(lengths)
    ]
    await run_until_idle()
    for number in range(9):
        if number < len(device.pending):
            await device.end(number)

    assert [task.result() for task in tasks] == [[0, 10, 20, 30], [1000, 1010, 1020], [2000, 2010]]
    assert len(device.batches) > 1, "the batches were not reordered"


async def test_equal_items_are_computed_separately() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY)
    twice, again = start(batcher, [7, 7]), start(batcher, [7])
    await run_until_idle()
    await device.end(0)

    assert device.batches == [[7, 7, 7]]
    assert (twice.result(), again.result()) == ([70, 70], [70])


async def test_concurrent_batches_are_limited_by_the_slots() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=Budget(max_tokens=10, max_items=1), slots=3)
    task = await started(batcher, [1, 2, 3, 4, 5])
    at_first = len(device.batches)
    await device.end(1)
    after_one = len(device.batches)
    for number in (0, 2, 3, 4):
        await device.end(number)

    assert (at_first, after_one) == (3, 4)
    assert task.result() == [10, 20, 30, 40, 50]


async def test_a_changed_number_of_slots_counts_for_the_next_batch() -> None:
    device = ManualDevice()
    free = [1]
    batcher = Batcher(
        device.run, budget=Budget(max_tokens=10, max_items=1), slots=lambda: Slots(free[0])
    )
    await started(batcher, [1, 2, 3, 4, 5])
    batches = [len(device.batches)]
    for number, slots in ((0, 3), (1, 1), (2, 1)):
        free[0] = slots
        await device.end(number)
        batches.append(len(device.batches))

    # One runs; then three; the two that still run beyond one slot end before the next starts.
    assert batches == [1, 4, 4, 4]
    assert (batcher.waiting_tokens, batcher.submitted_tokens) == (1, 5)


async def test_items_that_do_not_fit_keep_their_order_in_the_queue() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=Budget(max_tokens=2), clock=lambda: 0.0)
    await started(batcher, range(7))
    for number in range(4):
        await device.end(number)

    assert device.batches == [[0, 1], [2, 3], [4, 5], [6]]


async def test_interactive_items_overtake_older_bulk_items() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=Budget(max_tokens=1, bulk_delay_s=1000))
    await started(batcher, [1])
    await started(batcher, [2], priority=Priority.BULK)
    await started(batcher, [3])
    for number in (0, 1, 2):
        await device.end(number)

    assert device.batches == [[1], [3], [2]]


async def test_an_empty_submission_returns_without_a_run() -> None:
    device = ManualDevice()

    assert await Batcher(device.run, budget=ROOMY).submit([], []) == []
    assert device.batches == []


async def test_stats_count_batches_items_and_tokens() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY)
    task = asyncio.create_task(batcher.submit([1, 2], [30, 4]))
    await run_until_idle()
    await device.end(0)
    await task

    assert (batcher.stats.batches, batcher.stats.items, batcher.stats.tokens) == (1, 2, 34)


async def test_a_submission_with_a_missing_length_queues_nothing() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY)
    with pytest.raises(ValueError, match=r"shorter|length"):
        await batcher.submit([1, 2], [1])

    assert len(batcher) == 0
