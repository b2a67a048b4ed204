"""One class of work: admission, order, cancellation and statistics."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from embedder.core.cancellation import Cancelled, stop_if_cancelled
from embedder.core.errors import Overloaded, Unavailable
from embedder.pipeline.admission_policy import OWN_TIME_FACTOR
from embedder.pipeline.work_queue import WorkClass, WorkQueue
from tests.unit.waiting import LONG_S

WAIT_S = 0.5
PER_S = 1000.0


class Threads:
    """A queue of one thread whose work runs until the test releases it."""

    def __init__(self, max_units: int | None = None) -> None:
        self.now = 0.0
        kind = WorkClass("test", 1, PER_S, WAIT_S, max_units)
        self.queue = WorkQueue(kind, clock=lambda: self.now)
        self.go, self.begun = threading.Event(), threading.Event()
        self.started: list[int] = []
        self.tasks: list[asyncio.Task[int]] = []

    def work(self, number: int) -> Callable[[], int]:
        def held() -> int:
            self.started.append(number)
            assert self.go.wait(LONG_S)
            return number

        return held

    async def ask(self, units: int) -> int:
        """Start work of a price; return its number."""
        number = len(self.tasks)
        key = number.to_bytes(8, "big")
        running = self.queue.run(units, self.work(number), lambda: key)
        self.tasks.append(asyncio.ensure_future(running))
        await asyncio.sleep(0)
        return number

    async def refusal(self, units: int) -> Overloaded:
        """Return the error with which work of a price is refused."""
        number = await self.ask(units)
        with pytest.raises(Overloaded) as refused:
            await self.tasks[number]
        return refused.value


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    """Yield a queue of one thread; release its work at the end."""
    threads = Threads()
    yield threads
    threads.go.set()
    await asyncio.gather(*threads.tasks, return_exceptions=True)
    threads.queue.close()


async def test_work_starts_in_the_order_of_its_arrival(threads: Threads) -> None:
    for _ in range(5):
        await threads.ask(10)
    threads.go.set()

    assert await asyncio.gather(*threads.tasks) == [0, 1, 2, 3, 4]
    assert threads.started == [0, 1, 2, 3, 4]


async def test_work_that_would_wait_too_long_is_refused_before_it_starts(threads: Threads) -> None:
    for _ in range(6):
        await threads.ask(100)
    first, second = await threads.refusal(10), await threads.refusal(10)

    assert first.retry_after_s == pytest.approx(0.6)
    assert second.retry_after_s > first.retry_after_s
    assert threads.queue.queued == 600
    threads.go.set()
    await asyncio.gather(*threads.tasks[:6])
    assert threads.started == [0, 1, 2, 3, 4, 5]
    assert threads.queue.queued == 0


async def test_refusals_under_tenfold_overload_state_honest_times(
    threads: Threads,
) -> None:
    await threads.ask(600)
    times = [(await threads.refusal(60)).retry_after_s for _ in range(80)]

    assert times == sorted(times)
    assert times[-1] == pytest.approx((600 + 80 * 60) / PER_S, rel=0.15)


async def test_large_work_may_wait_a_multiple_of_its_own_time(threads: Threads) -> None:
    for _ in range(int(OWN_TIME_FACTOR) + 1):
        await threads.ask(100_000)
    refused = await threads.refusal(100_000)

    assert threads.queue.queued == 900_000
    assert refused.retry_after_s <= 120


async def test_the_units_in_memory_are_limited(threads: Threads) -> None:
    bounded = Threads(max_units=1000)
    for _ in range(3000):
        await bounded.ask(90)
    refused = [task for task in bounded.tasks if task.done()]

    assert bounded.queue.queued <= 1000
    assert all(isinstance(task.exception(), Overloaded) for task in refused)
    bounded.go.set()
    await asyncio.gather(*bounded.tasks, return_exceptions=True)
    assert len(bounded.started) == 3000 - len(refused) > 1
    bounded.queue.close()


async def test_any_work_is_admitted_when_nothing_is_queued(threads: Threads) -> None:
    bounded = Threads(max_units=10)
    await bounded.ask(10**9)
    bounded.go.set()

    assert await bounded.tasks[0] == 0
    bounded.queue.close()


async def test_cancelled_work_that_waits_is_never_started(threads: Threads) -> None:
    for _ in range(4):
        await threads.ask(10)
    for gone in (1, 2):
        threads.tasks[gone].cancel()
    await asyncio.sleep(0)
    queued = threads.queue.queued
    threads.go.set()
    await asyncio.gather(*threads.tasks, return_exceptions=True)

    assert queued == 20
    assert threads.started == [0, 3]


async def test_cancelled_work_that_runs_counts_until_it_ends(
    threads: Threads,
) -> None:
    stopped: list[bool] = []

    def work() -> None:
        threads.begun.set()
        assert threads.go.wait(LONG_S)
        try:
            stop_if_cancelled()
        except Cancelled:
            stopped.append(True)
            raise

    running = asyncio.ensure_future(threads.queue.run(10, work, lambda: b""))
    assert await asyncio.to_thread(threads.begun.wait, LONG_S)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    held = threads.queue.queued
    threads.go.set()
    await threads.queue.run(1, lambda: None, lambda: b"")

    assert held == 10
    assert threads.queue.queued == 0
    assert stopped == [True]


async def test_the_rate_is_what_was_measured(threads: Threads) -> None:
    def slow() -> None:
        threads.now += 1.0

    for _ in range(50):
        await threads.queue.run(100, slow, lambda: b"")
    await threads.ask(60)

    assert (await threads.refusal(1)).retry_after_s == pytest.approx(0.6, rel=0.1)


async def test_a_request_that_returns_in_time_goes_before_new_requests(threads: Threads) -> None:
    await threads.ask(550)
    with pytest.raises(Overloaded) as refused:
        await threads.queue.run(10, threads.work(7), lambda: b"same")
    threads.now += refused.value.retry_after_s
    with pytest.raises(Overloaded):
        await threads.queue.run(10, threads.work(8), lambda: b"new")
    again = asyncio.ensure_future(threads.queue.run(10, threads.work(9), lambda: b"same"))
    await asyncio.sleep(0)
    threads.go.set()

    assert await again == 9


async def test_an_error_of_the_work_is_raised_to_its_caller(threads: Threads) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await threads.queue.run(10, fail, lambda: b"")
    assert threads.queue.queued == 0


async def test_a_closed_queue_raises_unavailable(threads: Threads) -> None:
    threads.queue.close()

    for _ in range(3):
        with pytest.raises(Unavailable):
            await threads.queue.run(10, lambda: None, lambda: b"")
    assert threads.queue.queued == 0
