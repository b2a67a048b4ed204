"""When a batcher forms its batches, in which order it answers, and what it drops."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from embedder.batching.batcher import LOOKAHEAD, Batcher
from embedder.batching.packing import Budget
from embedder.errors import DeadlineExceeded, Unavailable
from embedder.types import Priority

ROOMY = Budget(max_tokens=100_000, max_items=10_000)


class Device:
    """Multiplies by ten; every batch ends when the test says so."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.deadlines: list[float | None] = []
        self.gates: list[asyncio.Future[None]] = []
        self.cancelled = 0

    async def run(self, items: list[int], deadline: float | None) -> Sequence[int]:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.batches.append(items)
        self.deadlines.append(deadline)
        self.gates.append(gate)
        try:
            await gate
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return [item * 10 for item in items]

    async def end(self, number: int) -> None:
        """Let one batch end, and everything that follows from it happen."""
        self.gates[number].set_result(None)
        await settle()


async def settle() -> None:
    """Let everything happen that needs no further event."""
    for _ in range(20):
        await asyncio.sleep(0)


def start(
    batcher: Batcher[int, int],
    items: Sequence[int],
    *,
    priority: Priority = Priority.INTERACTIVE,
    deadline: float | None = None,
) -> asyncio.Task[list[int]]:
    """Submit items of one token each from a task of their own."""
    work = batcher.submit(items, [1] * len(items), priority=priority, deadline=deadline)
    return asyncio.get_running_loop().create_task(work)


async def test_an_idle_batcher_sends_at_once() -> None:
    device = Device()
    start(Batcher(device.run, budget=ROOMY), [1])
    await settle()

    assert device.batches == [[1]]


async def test_callers_that_are_ready_in_the_same_tick_share_the_first_batch() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    for item in range(5):
        start(batcher, [item])
    await settle()

    assert device.batches == [[0, 1, 2, 3, 4]]


async def test_items_that_arrive_during_a_run_leave_together_in_the_next() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    start(batcher, [1])
    for item in (2, 3, 4):
        await settle()
        start(batcher, [item])
    await settle()
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
    await settle()
    for number in range(9):
        if number < len(device.gates):
            await device.end(number)

    assert [task.result() for task in tasks] == [[0, 10, 20, 30], [1000, 1010, 1020], [2000, 2010]]
    assert len(device.batches) > 1, "nothing was reordered across batches"


async def test_the_same_item_twice_is_two_items() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    twice, again = start(batcher, [7, 7]), start(batcher, [7])
    await settle()
    await device.end(0)

    assert device.batches == [[7, 7, 7]]
    assert (twice.result(), again.result()) == ([70, 70], [70])


async def test_as_many_batches_run_at_once_as_there_are_slots() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=Budget(max_tokens=10, max_items=1), slots=3)
    task = start(batcher, [1, 2, 3, 4, 5])
    await settle()
    at_first = len(device.batches)
    await device.end(1)
    after_one = len(device.batches)
    for number in (0, 2, 3, 4):
        await device.end(number)

    assert (at_first, after_one) == (3, 4)
    assert task.result() == [10, 20, 30, 40, 50]


async def test_interactive_work_passes_bulk_work_that_came_first() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=Budget(max_tokens=1, bulk_delay_s=1000))
    start(batcher, [1])
    await settle()
    start(batcher, [2], priority=Priority.BULK)
    await settle()
    start(batcher, [3])
    await settle()
    for number in (0, 1, 2):
        await device.end(number)

    assert device.batches == [[1], [3], [2]]


async def test_an_empty_submit_is_answered_without_a_run() -> None:
    device = Device()

    assert await Batcher(device.run, budget=ROOMY).submit([], []) == []
    assert device.batches == []


async def test_items_of_a_cancelled_caller_are_dropped_before_they_cost_anything() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    start(batcher, [1])
    await settle()
    gone, stays = start(batcher, [2, 3]), start(batcher, [4])
    await settle()
    gone.cancel()
    await settle()
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
    await settle()
    gone, stays = start(batcher, range(LOOKAHEAD)), start(batcher, [5])
    await settle()
    gone.cancel()
    await settle()
    await device.end(0)

    assert device.batches == [[1], [5]]
    assert not stays.done()


async def test_an_item_whose_deadline_passes_in_the_queue_is_never_run() -> None:
    now = [0.0]
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY, clock=lambda: now[0])
    start(batcher, [1])
    await settle()
    late, early = start(batcher, [2], deadline=5.0), start(batcher, [3], deadline=9.0)
    await settle()
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
    await settle()

    assert device.deadlines == [expected]


@pytest.mark.parametrize("cancels", [True, False])
async def test_only_a_batcher_that_cancels_stops_a_run_that_nobody_waits_for(
    cancels: bool,
) -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY, cancels=cancels)
    one, two = start(batcher, [1]), start(batcher, [2])
    await settle()
    one.cancel()
    await settle()
    with_a_caller_left = device.cancelled
    two.cancel()
    await settle()

    assert with_a_caller_left == 0
    assert device.cancelled == (1 if cancels else 0)


async def test_a_slot_whose_run_was_cancelled_is_free_again() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY, cancels=True)
    gone = start(batcher, [1])
    await settle()
    gone.cancel()
    await settle()
    task = start(batcher, [2])
    await settle()
    await device.end(1)

    assert task.result() == [20]


async def test_a_run_whose_only_caller_has_failed_is_cancelled_too() -> None:
    """A caller with an error in hand waits for nothing more."""
    device = Device()
    batcher = Batcher(device.run, budget=Budget(max_tokens=1), slots=2, cancels=True)
    failed = start(batcher, [1, 2])
    await settle()
    device.gates[0].set_exception(ValueError("broken"))
    await settle()

    assert isinstance(failed.exception(), ValueError)
    assert device.cancelled == 1


async def test_counters_tell_what_was_run() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    task = asyncio.create_task(batcher.submit([1, 2], [30, 4]))
    await settle()
    await device.end(0)
    await task

    assert (batcher.stats.batches, batcher.stats.items, batcher.stats.tokens) == (1, 2, 34)


async def test_a_submit_with_a_length_missing_leaves_nothing_behind() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    with pytest.raises(ValueError, match="shorter"):
        await batcher.submit([1, 2], [1])

    assert len(batcher) == 0


async def test_closing_answers_everything_that_waits_or_runs() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    running = start(batcher, [1])
    await settle()
    waiting = [start(batcher, [2]), start(batcher, [3], priority=Priority.BULK)]
    await settle()
    batcher.close()
    await settle()

    for task in (running, *waiting):
        assert isinstance(task.exception(), Unavailable)
    assert device.batches == [[1]]
    assert device.cancelled == 1


async def test_closing_answers_everything_however_much_waits() -> None:
    device = Device()
    batcher = Batcher(device.run, budget=ROOMY)
    start(batcher, [1])
    await settle()
    first, behind = start(batcher, range(LOOKAHEAD)), start(batcher, [2])
    await settle()
    batcher.close()
    await settle()

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
