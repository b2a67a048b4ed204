"""When a batcher forms its batches, and in which order it answers."""

from __future__ import annotations

import asyncio

import pytest

from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.core.types import Priority
from tests.unit.batching.manual_device import ROOMY, Device, run_until_idle, start


async def test_an_idle_batcher_sends_at_once() -> None:
    device = Device()
    start(Batcher(device.run, budget=ROOMY), [1])
    await run_until_idle()

    assert device.batches == [[1]]


async def test_callers_that_are_ready_in_the_same_tick_share_the_first_batch() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    for item in range(5):
        start(batcher, [item])
    await run_until_idle()

    assert device.batches == [[0, 1, 2, 3, 4]]


async def test_items_that_arrive_during_a_run_leave_together_in_the_next() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    start(batcher, [1])
    for item in (2, 3, 4):
        await run_until_idle()
        start(batcher, [item])
    await run_until_idle()
    waiting = len(batcher)
    await device.end(0)

    assert waiting == 3
    assert device.batches == [[1], [2, 3, 4]]
    assert len(batcher) == 0


async def test_every_caller_gets_its_own_results_in_its_own_order() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=Budget(max_tokens=20, padded=True))
    lengths = [[9, 1, 5, 2], [2, 8, 1], [5, 5]]
    tasks = [
        asyncio.create_task(batcher.submit(range(at * 100, at * 100 + len(row)), row))
        for at, row in enumerate(lengths)
    ]
    await run_until_idle()
    for number in range(9):
        if number < len(device.gates):
            await device.end(number)

    assert [task.result() for task in tasks] == [[0, 10, 20, 30], [1000, 1010, 1020], [2000, 2010]]
    assert len(device.batches) > 1, "nothing was reordered across batches"


async def test_the_same_item_twice_is_two_items() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    twice, again = start(batcher, [7, 7]), start(batcher, [7])
    await run_until_idle()
    await device.end(0)

    assert device.batches == [[7, 7, 7]]
    assert (twice.result(), again.result()) == ([70, 70], [70])


async def test_as_many_batches_run_at_once_as_there_are_slots() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=Budget(max_tokens=10, max_items=1), slots=3)
    task = start(batcher, [1, 2, 3, 4, 5])
    await run_until_idle()
    at_first = len(device.batches)
    await device.end(1)
    after_one = len(device.batches)
    for number in (0, 2, 3, 4):
        await device.end(number)

    assert (at_first, after_one) == (3, 4)
    assert task.result() == [10, 20, 30, 40, 50]


async def test_what_does_not_fit_keeps_its_place_in_the_queue() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=Budget(max_tokens=2), clock=lambda: 0.0)
    start(batcher, range(7))
    await run_until_idle()
    for number in range(4):
        await device.end(number)

    assert device.batches == [[0, 1], [2, 3], [4, 5], [6]]


async def test_interactive_work_passes_bulk_work_that_came_first() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=Budget(max_tokens=1, bulk_delay_s=1000))
    start(batcher, [1])
    await run_until_idle()
    start(batcher, [2], priority=Priority.BULK)
    await run_until_idle()
    start(batcher, [3])
    await run_until_idle()
    for number in (0, 1, 2):
        await device.end(number)

    assert device.batches == [[1], [3], [2]]


async def test_an_empty_submit_is_answered_without_a_run() -> None:
    device = Device()

    assert await Batcher(device.run, budget=ROOMY).submit([], []) == []
    assert device.batches == []


async def test_counters_tell_what_was_run() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    task = asyncio.create_task(batcher.submit([1, 2], [30, 4]))
    await run_until_idle()
    await device.end(0)
    await task

    assert (batcher.stats.batches, batcher.stats.items, batcher.stats.tokens) == (1, 2, 34)


async def test_a_submit_with_a_length_missing_leaves_nothing_behind() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    with pytest.raises(ValueError, match=r"shorter|length"):
        await batcher.submit([1, 2], [1])

    assert len(batcher) == 0
