"""Cancelled callers, passed deadlines, and a closed batcher: no caller is left waiting."""

from __future__ import annotations

import asyncio
import math

import pytest

from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.queue import LOOKAHEAD
from embedder.core.deadline import Deadline
from embedder.core.errors import DeadlineExceeded, Unavailable
from embedder.core.types import Priority
from tests.unit.batching.manual_device import ROOMY, ManualDevice, run_until_idle, start, started


async def fill_window(
    batcher: Batcher[int, int], *, behind: int
) -> tuple[asyncio.Task[list[int]], asyncio.Task[list[int]]]:
    """Queue a window of items and one more behind a running batch of the item 1."""
    await started(batcher, [1])
    tasks = start(batcher, range(LOOKAHEAD)), start(batcher, [behind])
    await run_until_idle()
    return tasks


async def test_queued_items_of_a_cancelled_caller_are_never_run() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY)
    await started(batcher, [1])
    gone, stays = start(batcher, [2, 3]), start(batcher, [4])
    await run_until_idle()
    gone.cancel()
    await run_until_idle()
    await device.end(0)

    assert gone.cancelled()
    assert device.batches == [[1], [4]]
    assert batcher.stats.dropped == 2
    assert not stays.done()


async def test_an_item_behind_a_window_of_cancelled_items_is_run() -> None:
    device = ManualDevice()
    gone, stays = await fill_window(Batcher(device.run, budget=ROOMY), behind=5)
    gone.cancel()
    await run_until_idle()
    await device.end(0)

    assert device.batches == [[1], [5]]
    assert not stays.done()


async def test_an_item_whose_deadline_passes_in_the_queue_is_never_run() -> None:
    now = [0.0]
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY, clock=lambda: now[0])
    await started(batcher, [1])
    late = start(batcher, [2], deadline=Deadline(5.0))
    early = start(batcher, [3], deadline=Deadline(9.0))
    await run_until_idle()
    now[0] = 5.0
    await device.end(0)
    await device.end(1)

    with pytest.raises(DeadlineExceeded, match="queue"):
        late.result()
    assert early.result() == [30]
    assert device.batches == [[1], [3]]
    assert batcher.stats.dropped == 1


@pytest.mark.parametrize(
    ("deadlines", "expected"),
    [((5.0, 9.0), 9.0), ((5.0, math.inf), math.inf), ((math.inf, math.inf), math.inf)],
)
async def test_a_batch_has_the_latest_deadline_of_its_items(
    deadlines: tuple[float, float], expected: float
) -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY, clock=lambda: 0.0)
    for item, deadline in enumerate(deadlines):
        start(batcher, [item], deadline=Deadline(deadline))
    await run_until_idle()

    assert device.deadlines == [expected]


@pytest.mark.parametrize("cancel_abandoned", [True, False])
async def test_an_abandoned_run_is_cancelled_only_if_the_batcher_may_cancel(
    cancel_abandoned: bool,
) -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY, cancel_abandoned=cancel_abandoned)
    one, two = start(batcher, [1]), start(batcher, [2])
    await run_until_idle()
    one.cancel()
    await run_until_idle()
    with_a_caller_left = device.cancelled
    two.cancel()
    await run_until_idle()

    assert with_a_caller_left == 0
    assert device.cancelled == (1 if cancel_abandoned else 0)


async def test_a_cancelled_run_frees_its_slot() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY, cancel_abandoned=True)
    gone = await started(batcher, [1])
    gone.cancel()
    await run_until_idle()
    task = await started(batcher, [2])
    await device.end(1)

    assert task.result() == [20]


async def test_a_run_whose_only_caller_has_failed_is_cancelled() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=Budget(max_tokens=1), slots=2, cancel_abandoned=True)
    failed = await started(batcher, [1, 2])
    device.pending[0].set_exception(ValueError("broken"))
    await run_until_idle()

    assert isinstance(failed.exception(), ValueError)
    assert device.cancelled == 1


async def test_closing_fails_all_queued_and_running_items() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY)
    running = await started(batcher, [1])
    waiting = [start(batcher, [2]), start(batcher, [3], priority=Priority.BULK)]
    await run_until_idle()
    batcher.close()
    await run_until_idle()

    for task in (running, *waiting):
        assert isinstance(task.exception(), Unavailable)
    assert device.batches == [[1]]
    assert device.cancelled == 1


async def test_closing_fails_more_items_than_one_window_holds() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY)
    first, behind = await fill_window(batcher, behind=2)
    batcher.close()
    await run_until_idle()

    assert isinstance(first.exception(), Unavailable)
    assert behind.done()
    assert isinstance(behind.exception(), Unavailable)
    assert device.batches == [[1]]


async def test_a_closed_batcher_refuses_items() -> None:
    device = ManualDevice()
    batcher = Batcher(device.run, budget=ROOMY)
    batcher.close()

    with pytest.raises(Unavailable, match="closed"):
        await batcher.submit([1], [1])
