"""Callers that leave, deadlines that pass, and the end of a batcher: nobody is left waiting."""

from __future__ import annotations

import pytest

from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.queue import LOOKAHEAD
from embedder.core.errors import DeadlineExceeded, Unavailable
from embedder.core.types import Priority
from tests.unit.batching.manual_device import ROOMY, Device, run_until_idle, start


async def test_items_of_a_cancelled_caller_are_dropped_before_they_cost_anything() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    start(batcher, [1])
    await run_until_idle()
    gone, stays = start(batcher, [2, 3]), start(batcher, [4])
    await run_until_idle()
    gone.cancel()
    await run_until_idle()
    await device.end(0)

    assert gone.cancelled()
    assert device.batches == [[1], [4]]
    assert batcher.stats.dropped == 2
    assert not stays.done()


async def test_a_caller_behind_many_cancelled_items_is_served() -> None:
    """However many dropped items fill the look-ahead, what waits behind them is reached."""
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    start(batcher, [1])
    await run_until_idle()
    gone, stays = start(batcher, range(LOOKAHEAD)), start(batcher, [5])
    await run_until_idle()
    gone.cancel()
    await run_until_idle()
    await device.end(0)

    assert device.batches == [[1], [5]]
    assert not stays.done()


async def test_an_item_whose_deadline_passes_in_the_queue_is_never_run() -> None:
    now = [0.0]
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY, clock=lambda: now[0])
    start(batcher, [1])
    await run_until_idle()
    late, early = start(batcher, [2], deadline=5.0), start(batcher, [3], deadline=9.0)
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
    ("deadlines", "expected"), [((5.0, 9.0), 9.0), ((5.0, None), None), ((None, None), None)]
)
async def test_a_batch_may_take_as_long_as_its_most_patient_caller(
    deadlines: tuple[float | None, float | None], expected: float | None
) -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY, clock=lambda: 0.0)
    for item, deadline in enumerate(deadlines):
        start(batcher, [item], deadline=deadline)
    await run_until_idle()

    assert device.deadlines == [expected]


@pytest.mark.parametrize("cancel_abandoned", [True, False])
async def test_only_a_batcher_that_cancels_stops_a_run_that_nobody_waits_for(
    cancel_abandoned: bool,
) -> None:
    device = Device()
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


async def test_a_slot_whose_run_was_cancelled_is_free_again() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY, cancel_abandoned=True)
    gone = start(batcher, [1])
    await run_until_idle()
    gone.cancel()
    await run_until_idle()
    task = start(batcher, [2])
    await run_until_idle()
    await device.end(1)

    assert task.result() == [20]


async def test_a_run_whose_only_caller_has_failed_is_cancelled_too() -> None:
    """A caller with an error in hand waits for nothing more."""
    device = Device()
    batcher = Batcher(device.run, budget=Budget(max_tokens=1), slots=2, cancel_abandoned=True)
    failed = start(batcher, [1, 2])
    await run_until_idle()
    device.gates[0].set_exception(ValueError("broken"))
    await run_until_idle()

    assert isinstance(failed.exception(), ValueError)
    assert device.cancelled == 1


async def test_closing_answers_everything_that_waits_or_runs() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    running = start(batcher, [1])
    await run_until_idle()
    waiting = [start(batcher, [2]), start(batcher, [3], priority=Priority.BULK)]
    await run_until_idle()
    batcher.close()
    await run_until_idle()

    for task in (running, *waiting):
        assert isinstance(task.exception(), Unavailable)
    assert device.batches == [[1]]
    assert device.cancelled == 1


async def test_closing_answers_everything_however_much_waits() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    start(batcher, [1])
    await run_until_idle()
    first, behind = start(batcher, range(LOOKAHEAD)), start(batcher, [2])
    await run_until_idle()
    batcher.close()
    await run_until_idle()

    assert isinstance(first.exception(), Unavailable)
    assert behind.done()
    assert isinstance(behind.exception(), Unavailable)
    assert device.batches == [[1]]


async def test_a_closed_batcher_accepts_nothing() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    batcher.close()

    with pytest.raises(Unavailable, match="closed"):
        await batcher.submit([1], [1])
