"""SingleFlight: who may join one, when it ends, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import numpy as np
import pytest

from embedder.core.types import Entries, EntryResults
from embedder.pipeline.single_flight import SingleFlight


def answers(*values: float) -> EntryResults:
    """Return one row of one component for each value."""
    count = len(values)
    entries = Entries(
        np.array(values, np.float32).reshape(count, 1),
        np.ones(count, np.int32),
        np.zeros(count, np.bool_),
    )
    return EntryResults(entries, np.zeros(count, np.bool_))


class GatedComputation:
    """Ends when the test says so, and tells whether it was cancelled."""

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
    """Let everything happen that needs no further event."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_key_in_the_air_has_a_seat_and_any_other_has_none() -> None:
    flights, computation = SingleFlight(), GatedComputation()
    flight = flights.launch([b"a", b"b"], computation.run())
    seat = flights.find(b"b")

    assert seat is not None
    assert (seat.flight, seat.row) == (flight, 1)
    assert flights.find(b"c") is None
    assert len(flights) == 2
    flight.task.cancel()


async def test_every_waiter_gets_the_same_answers() -> None:
    flights, computation = SingleFlight(), GatedComputation()
    flight = flights.launch([b"a"], computation.run())
    waiters = [asyncio.create_task(flight.answers()) for _ in range(3)]
    await settle()
    computation.result.set_result(answers(4))

    assert [waiter.entries.vectors.tolist() for waiter in await asyncio.gather(*waiters)] == [
        [[4]]
    ] * 3


async def test_a_landed_flight_leaves_no_seats() -> None:
    flights, computation = SingleFlight(), GatedComputation()
    flights.launch([b"a", b"b"], computation.run())
    computation.result.set_result(answers(1, 2))
    await settle()

    assert len(flights) == 0
    assert flights.find(b"a") is None


async def test_a_waiter_that_is_cancelled_does_not_disturb_the_flight() -> None:
    flights, computation = SingleFlight(), GatedComputation()
    flight = flights.launch([b"a"], computation.run())
    gone, stays = (asyncio.create_task(flight.answers()) for _ in range(2))
    await settle()
    gone.cancel()
    await settle()
    computation.result.set_result(answers(7))

    assert (await stays).entries.vectors.tolist() == [[7]]
    assert gone.cancelled()
    assert not computation.cancelled


async def test_a_flight_goes_on_while_anyone_is_aboard() -> None:
    flights, computation = SingleFlight(), GatedComputation()
    flight = flights.launch([b"a"], computation.run())
    flights.board(flight)
    flights.board(flight)
    await settle()
    flights.leave(flight)
    await settle()
    with_one_left = computation.cancelled
    flights.leave(flight)
    await settle()

    assert not with_one_left
    assert computation.cancelled


async def test_an_abandoned_flight_cannot_be_joined_even_before_it_has_ended() -> None:
    flights, computation = SingleFlight(), GatedComputation()
    flight = flights.launch([b"a"], computation.run())
    flights.board(flight)
    flights.leave(flight)

    assert not flight.task.done()
    assert flights.find(b"a") is None
    await settle()


async def test_the_end_of_an_old_flight_takes_no_seats_from_the_next() -> None:
    flights, old, new = SingleFlight(), GatedComputation(), GatedComputation()
    abandoned = flights.launch([b"a"], old.run())
    await settle()
    flights.board(abandoned)
    flights.leave(abandoned)
    successor = flights.launch([b"a"], new.run())
    await settle()
    seat = flights.find(b"a")

    assert abandoned.task.cancelled()
    assert seat is not None
    assert seat.flight is successor
    successor.task.cancel()


async def test_leaving_a_landed_flight_is_no_cancellation() -> None:
    flights, computation = SingleFlight(), GatedComputation()
    flight = flights.launch([b"a"], computation.run())
    flights.board(flight)
    computation.result.set_result(answers(1))
    await flight.answers()
    flights.leave(flight)

    assert not flight.task.cancelled()
    assert flight.task.result().entries.vectors.tolist() == [[1]]


async def test_every_waiter_gets_the_error_of_a_failed_flight() -> None:
    flights, computation = SingleFlight(), GatedComputation()
    flight = flights.launch([b"a"], computation.run())
    waiters = [asyncio.create_task(flight.answers()) for _ in range(2)]
    await settle()
    computation.result.set_exception(ValueError("broken"))
    results = await asyncio.gather(*waiters, return_exceptions=True)

    assert [str(result) for result in results] == ["broken", "broken"]
    assert len(flights) == 0


async def test_a_flight_that_fails_after_everyone_has_left_is_not_reported_as_forgotten() -> None:
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    flights, computation = SingleFlight(), GatedComputation()
    flights.launch([b"a"], computation.run())
    await settle()
    computation.result.set_exception(ValueError("broken"))
    await settle()
    del computation
    gc.collect()

    assert reports == []


@pytest.mark.parametrize("count", [1, 100])
async def test_the_seats_of_one_flight_are_counted_by_key(count: int) -> None:
    flights, computation = SingleFlight(), GatedComputation()
    flight = flights.launch([bytes([at]) for at in range(count)], computation.run())
    airborne = len(flights)
    flights.board(flight)
    flights.leave(flight)

    assert airborne == count
    assert len(flights) == 0
    await settle()
