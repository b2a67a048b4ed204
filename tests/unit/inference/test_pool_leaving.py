"""Users of a pool that are cancelled or late: nobody else is disturbed, and no use is left."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from embedder.core.errors import DeadlineExceeded
from embedder.inference.residency import State
from tests.unit.inference.test_pool import Visitor, Workshop, settle, states


async def test_a_user_cancelled_while_waiting_does_not_disturb_the_other() -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()
    gone, stays = Visitor(pool, "a"), Visitor(pool, "a")
    await settle()
    gone.task.cancel()
    await workshop.make()

    assert (gone.status, stays.status) == ("cancelled", "inside")
    assert workshop.log == ["load a"]
    assert pool.states()[0].in_use == 1


async def test_a_load_that_has_begun_is_finished_even_for_nobody() -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()
    gone = Visitor(pool, "a")
    await settle()
    gone.task.cancel()
    await settle()
    while_loading = states(pool)
    late = Visitor(pool, "a")
    await workshop.make()

    assert while_loading == {"a": State.LOADING}
    assert late.status == "inside"
    assert workshop.log == ["load a"]


async def test_a_model_that_nobody_waits_for_any_more_is_not_loaded_and_the_next_is() -> None:
    workshop = Workshop({"busy": 2, "big": 2, "small": 1})
    pool = workshop.pool(3)
    Visitor(pool, "busy")
    await workshop.make()
    big, small = Visitor(pool, "big"), Visitor(pool, "small")
    await settle()
    before = small.status, len(workshop.jobs)
    big.task.cancel()
    await workshop.make()

    assert before == ("waiting", 0)
    assert small.status == "inside"
    assert states(pool) == {"busy": State.READY, "small": State.READY}


async def test_no_load_begins_for_one_who_was_cancelled_in_the_same_turn() -> None:
    workshop = Workshop({"a": 1, "b": 1, "c": 1})
    pool = workshop.pool(1)
    user = Visitor(pool, "a")
    await workshop.make()
    gone, stays = Visitor(pool, "b"), Visitor(pool, "c")
    await settle()
    user.leave()
    gone.task.cancel()
    await workshop.make()

    assert (gone.status, stays.status) == ("cancelled", "inside")
    assert workshop.log == ["load a", "unload a", "load c"]


async def test_a_model_is_not_handed_to_one_who_was_cancelled_just_before() -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()
    gone = Visitor(pool, "a")
    await settle()
    gone.task.cancel()
    workshop.end_load()
    await settle()

    assert gone.status == "cancelled"
    assert [state.in_use for state in pool.states()] == [0]


async def test_a_cancellation_after_the_model_was_handed_over_lets_it_go_again() -> None:
    """The future of the caller has its model already, but its task has not been woken."""
    workshop = Workshop({"a": 1, "b": 1})
    pool = workshop.pool(1)
    gone, next_one = Visitor(pool, "a"), Visitor(pool, "b")
    await settle()
    workshop.end_load()
    await asyncio.sleep(0)
    handed_over = {state.key: state.in_use for state in pool.states()}["a"], gone.model
    gone.task.cancel()
    await workshop.make()

    assert handed_over == (1, None)
    assert (gone.status, next_one.status) == ("cancelled", "inside")
    assert workshop.log == ["load a", "unload a", "load b"]


async def test_a_user_cancelled_inside_has_left() -> None:
    workshop = Workshop({"a": 1, "b": 1})
    pool = workshop.pool(1)
    gone = Visitor(pool, "a")
    await workshop.make()
    next_one = Visitor(pool, "b")
    await settle()
    gone.task.cancel()
    await workshop.make()

    assert (gone.status, next_one.status) == ("cancelled", "inside")


async def test_a_pin_that_is_cancelled_pins_nothing() -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()
    pin = asyncio.create_task(pool.pin("a"))
    await settle()
    pin.cancel()
    await workshop.make()

    assert [state.pinned for state in pool.states()] == [False]


async def test_who_waits_for_room_is_told_when_the_deadline_has_passed() -> None:
    workshop = Workshop({"a": 1, "b": 1})
    pool = workshop.pool(1)
    user = Visitor(pool, "a")
    await workshop.make()
    late, patient = Visitor(pool, "b", deadline=0.01), Visitor(pool, "b")
    error = (await asyncio.gather(late.task, return_exceptions=True))[0]
    user.leave()
    await workshop.make()

    assert isinstance(error, DeadlineExceeded)
    assert error.stage == "model pool"
    assert patient.status == "inside"


async def test_when_the_only_one_who_waited_is_late_the_next_model_is_loaded() -> None:
    workshop = Workshop({"busy": 2, "big": 2, "small": 1})
    pool = workshop.pool(3)
    Visitor(pool, "busy")
    await workshop.make()
    late, small = Visitor(pool, "big", deadline=0.01), Visitor(pool, "small")
    await asyncio.wait([late.task])
    await workshop.make()

    assert (late.status, small.status) == ("DeadlineExceeded", "inside")
    assert workshop.log == ["load busy", "load small"]


async def test_a_load_outlives_the_deadline_of_who_asked_for_it() -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()
    late = Visitor(pool, "a", deadline=0.01)
    await asyncio.wait([late.task])
    await workshop.make()

    assert late.status == "DeadlineExceeded"
    assert states(pool) == {"a": State.READY}


async def test_nothing_is_loaded_for_one_who_comes_too_late() -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()
    workshop.clock.now = 5
    late = Visitor(pool, "a", deadline=5)
    await workshop.make()

    assert late.status == "DeadlineExceeded"
    assert workshop.log == []


async def test_a_deadline_that_was_met_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_later = loop.call_later

    def note(*arguments: Any) -> asyncio.TimerHandle:
        timers.append(call_later(*arguments))
        return timers[-1]

    monkeypatch.setattr(loop, "call_later", note)
    visitor = Visitor(pool, "a", deadline=100.0)
    await workshop.make()

    assert visitor.status == "inside"
    assert [timer.cancelled() for timer in timers] == [True]


async def test_those_who_have_left_are_forgotten_while_others_wait_on() -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()
    patient = Visitor(pool, "a")
    await settle()
    gone = [Visitor(pool, "a") for _ in range(50)]
    await settle()
    for visitor in gone:
        visitor.task.cancel()
    await settle()
    gone.clear()
    gc.collect()

    assert (
        sum(type(thing) is asyncio.Future and thing.cancelled() for thing in gc.get_objects()) < 50
    )
    assert patient.status == "waiting"
