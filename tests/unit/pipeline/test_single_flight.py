"""Single-flight: joining, cancelling, completing and removing computations."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import numpy as np
import pytest

from embedder.core.entries.entries import Entries
from embedder.core.entries.entry_results import EntryResults
from embedder.pipeline.single_flight import SingleFlight


def results(*values: float) -> EntryResults:
    """Return one row of one component for each value."""
    count = len(values)
    entries = Entries(
        np.array(values, np.float32).reshape(count, 1),
        np.ones(count, np.int32),
        np.zeros(count, np.bool_),
    )
    return EntryResults(entries, np.zeros(count, np.bool_))


class GatedComputation:
    """A computation that ends when the test sets its result, and records a cancellation."""

    def __init__(self) -> None:
        self.result: asyncio.Future[EntryResults] = asyncio.get_running_loop().create_future()
        self.cancelled = False

    async def run(self) -> EntryResults:
        try:
            return await self.result
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def settle() -> None:
    """Run the event loop until nothing is ready."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_find_returns_the_pending_result_of_keys_that_are_computed_only() -> None:
    single_flight, work = SingleFlight(), GatedComputation()
    computation = single_flight.start([b"a", b"b"], work.run())

    assert single_flight.find([b"c", b"b", b"a"], [0, 1]) == ({computation: {1: 1}}, [0])
    assert len(single_flight) == 2
    computation.task.cancel()


async def test_every_waiter_gets_the_same_answers() -> None:
    single_flight, work = SingleFlight(), GatedComputation()
    computation = single_flight.start([b"a"], work.run())
    waiters = [asyncio.ensure_future(computation.results()) for _ in range(3)]
    await settle()
    work.result.set_result(results(4))

    assert [waiter.entries.vectors.tolist() for waiter in await asyncio.gather(*waiters)] == [
        [[4]]
    ] * 3


async def test_a_completed_computation_leaves_no_pending_results() -> None:
    single_flight, work = SingleFlight(), GatedComputation()
    single_flight.start([b"a", b"b"], work.run())
    work.result.set_result(results(1, 2))
    await settle()

    assert len(single_flight) == 0
    assert single_flight.find([b"a"], [0]) == ({}, [0])


async def test_a_cancelled_waiter_does_not_cancel_the_computation() -> None:
    single_flight, work = SingleFlight(), GatedComputation()
    computation = single_flight.start([b"a"], work.run())
    gone, stays = (asyncio.ensure_future(computation.results()) for _ in range(2))
    await settle()
    gone.cancel()
    await settle()
    work.result.set_result(results(7))

    assert (await stays).entries.vectors.tolist() == [[7]]
    assert gone.cancelled()
    assert not work.cancelled


async def test_a_computation_runs_while_it_has_waiters() -> None:
    single_flight, work = SingleFlight(), GatedComputation()
    computation = single_flight.start([b"a"], work.run())
    single_flight.join([computation])
    single_flight.join([computation])
    await settle()
    single_flight.leave([computation])
    await settle()
    with_one_left = work.cancelled
    single_flight.leave([computation])
    await settle()

    assert not with_one_left
    assert work.cancelled


async def test_an_abandoned_computation_cannot_be_joined_even_before_it_has_ended() -> None:
    single_flight, work = SingleFlight(), GatedComputation()
    computation = single_flight.start([b"a"], work.run())
    single_flight.join([computation])
    single_flight.leave([computation])

    assert not computation.task.done()
    assert single_flight.find([b"a"], [0]) == ({}, [0])
    await settle()


async def test_the_end_of_an_old_computation_removes_no_pending_result_of_the_next() -> None:
    single_flight, old, new = SingleFlight(), GatedComputation(), GatedComputation()
    abandoned = single_flight.start([b"a"], old.run())
    await settle()
    single_flight.join([abandoned])
    single_flight.leave([abandoned])
    successor = single_flight.start([b"a"], new.run())
    await settle()

    assert abandoned.task.cancelled()
    assert single_flight.find([b"a"], [0]) == ({successor: {0: 0}}, [])
    successor.task.cancel()


async def test_leaving_a_completed_computation_does_not_cancel_it() -> None:
    single_flight, work = SingleFlight(), GatedComputation()
    computation = single_flight.start([b"a"], work.run())
    single_flight.join([computation])
    work.result.set_result(results(1))
    await computation.results()
    single_flight.leave([computation])

    assert not computation.task.cancelled()
    assert computation.task.result().entries.vectors.tolist() == [[1]]


async def test_every_waiter_gets_the_error_of_a_failed_computation() -> None:
    single_flight, work = SingleFlight(), GatedComputation()
    computation = single_flight.start([b"a"], work.run())
    waiters = [asyncio.ensure_future(computation.results()) for _ in range(2)]
    await settle()
    work.result.set_exception(ValueError("broken"))
    errors = await asyncio.gather(*waiters, return_exceptions=True)

    assert [str(error) for error in errors] == ["broken", "broken"]
    assert len(single_flight) == 0


async def test_an_error_after_all_waiters_have_left_is_not_reported_as_never_retrieved() -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    single_flight, work = SingleFlight(), GatedComputation()
    single_flight.start([b"a"], work.run())
    await settle()
    work.result.set_exception(ValueError("broken"))
    await settle()
    del work
    gc.collect()

    assert reports == []


@pytest.mark.parametrize("count", [1, 100])
async def test_keys_are_counted_not_computations(count: int) -> None:
    single_flight, work = SingleFlight(), GatedComputation()
    computation = single_flight.start([bytes([at]) for at in range(count)], work.run())
    pending = len(single_flight)
    single_flight.join([computation])
    single_flight.leave([computation])

    assert pending == count
    assert len(single_flight) == 0
    await settle()
