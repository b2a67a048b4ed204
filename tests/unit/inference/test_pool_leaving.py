"""Cancelled and late users of a pool affect no other user and release their model."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from embedder.core.deadline import Deadline
from embedder.core.errors import DeadlineExceeded
from embedder.inference.residency import LoadState
from tests.unit.inference.fake_pool import FakeLoader, PoolUser, settle, states


async def test_a_user_cancelled_while_waiting_does_not_disturb_the_other() -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()
    gone, stays = PoolUser(pool, "a"), PoolUser(pool, "a")
    await settle()
    gone.task.cancel()
    await loader.finish_loads()

    assert (gone.status, stays.status) == ("cancelled", "using")
    assert loader.log == ["load a"]
    assert pool.states()[0].in_use == 1


async def test_a_started_load_finishes_without_callers() -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()
    gone = PoolUser(pool, "a")
    await settle()
    gone.task.cancel()
    await settle()
    while_loading = states(pool)
    late = PoolUser(pool, "a")
    await loader.finish_loads()

    assert while_loading == {"a": LoadState.LOADING}
    assert late.status == "using"
    assert loader.log == ["load a"]


async def test_a_model_without_callers_is_skipped() -> None:
    loader = FakeLoader({"busy": 2, "big": 2, "small": 1})
    pool = loader.pool(3)
    PoolUser(pool, "busy")
    await loader.finish_loads()
    big, small = PoolUser(pool, "big"), PoolUser(pool, "small")
    await settle()
    before = small.status, len(loader.pending)
    big.task.cancel()
    await loader.finish_loads()

    assert before == ("waiting", 0)
    assert small.status == "using"
    assert states(pool) == {"busy": LoadState.READY, "small": LoadState.READY}


async def test_no_load_starts_for_a_caller_cancelled_at_the_same_time() -> None:
    loader = FakeLoader({"a": 1, "b": 1, "c": 1})
    pool = loader.pool(1)
    user = PoolUser(pool, "a")
    await loader.finish_loads()
    gone, stays = PoolUser(pool, "b"), PoolUser(pool, "c")
    await settle()
    user.release()
    gone.task.cancel()
    await loader.finish_loads()

    assert (gone.status, stays.status) == ("cancelled", "using")
    assert loader.log == ["load a", "unload a", "load c"]


async def test_a_cancelled_caller_gets_no_model() -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()
    gone = PoolUser(pool, "a")
    await settle()
    gone.task.cancel()
    loader.finish_load()
    await settle()

    assert gone.status == "cancelled"
    assert [state.in_use for state in pool.states()] == [0]


async def test_cancelling_after_the_model_was_assigned_releases_it() -> None:
    """The caller's future has its result, but its task has not resumed yet."""
    loader = FakeLoader({"a": 1, "b": 1})
    pool = loader.pool(1)
    gone, next_one = PoolUser(pool, "a"), PoolUser(pool, "b")
    await settle()
    loader.finish_load()
    await asyncio.sleep(0)
    handed_over = {state.key: state.in_use for state in pool.states()}["a"], gone.model
    gone.task.cancel()
    await loader.finish_loads()

    assert handed_over == (1, None)
    assert (gone.status, next_one.status) == ("cancelled", "using")
    assert loader.log == ["load a", "unload a", "load b"]


async def test_a_cancelled_user_releases_its_model() -> None:
    loader = FakeLoader({"a": 1, "b": 1})
    pool = loader.pool(1)
    gone = PoolUser(pool, "a")
    await loader.finish_loads()
    next_one = PoolUser(pool, "b")
    await settle()
    gone.task.cancel()
    await loader.finish_loads()

    assert (gone.status, next_one.status) == ("cancelled", "using")


async def test_a_cancelled_pin_has_no_effect() -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()
    pin = asyncio.create_task(pool.pin("a"))
    await settle()
    pin.cancel()
    await loader.finish_loads()

    assert [state.pinned for state in pool.states()] == [False]


async def test_a_caller_waiting_for_room_times_out_at_its_deadline() -> None:
    loader = FakeLoader({"a": 1, "b": 1})
    pool = loader.pool(1)
    user = PoolUser(pool, "a")
    await loader.finish_loads()
    late, patient = PoolUser(pool, "b", deadline=Deadline(0.01)), PoolUser(pool, "b")
    error = (await asyncio.gather(late.task, return_exceptions=True))[0]
    user.release()
    await loader.finish_loads()

    assert isinstance(error, DeadlineExceeded)
    assert error.stage == "model pool"
    assert patient.status == "using"


async def test_the_next_model_is_loaded_after_the_only_caller_times_out() -> None:
    loader = FakeLoader({"busy": 2, "big": 2, "small": 1})
    pool = loader.pool(3)
    PoolUser(pool, "busy")
    await loader.finish_loads()
    late, small = PoolUser(pool, "big", deadline=Deadline(0.01)), PoolUser(pool, "small")
    await asyncio.wait([late.task])
    await loader.finish_loads()

    assert (late.status, small.status) == ("DeadlineExceeded", "using")
    assert loader.log == ["load busy", "load small"]


async def test_a_load_continues_after_its_callers_deadline() -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()
    late = PoolUser(pool, "a", deadline=Deadline(0.01))
    await asyncio.wait([late.task])
    await loader.finish_loads()

    assert late.status == "DeadlineExceeded"
    assert states(pool) == {"a": LoadState.READY}


async def test_nothing_is_loaded_after_the_deadline() -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()
    loader.clock.now = 5
    late = PoolUser(pool, "a", deadline=Deadline(5))
    await loader.finish_loads()

    assert late.status == "DeadlineExceeded"
    assert loader.log == []


async def test_a_deadline_that_was_met_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    call_later = loop.call_later

    def note(*arguments: Any) -> asyncio.TimerHandle:
        timers.append(call_later(*arguments))
        return timers[-1]

    monkeypatch.setattr(loop, "call_later", note)
    user = PoolUser(pool, "a", deadline=Deadline(100.0))
    await loader.finish_loads()

    assert user.status == "using"
    assert [timer.cancelled() for timer in timers] == [True]


async def test_cancelled_callers_are_forgotten_while_others_wait() -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()
    patient = PoolUser(pool, "a")
    await settle()
    gone = [PoolUser(pool, "a") for _ in range(50)]
    await settle()
    for user in gone:
        user.task.cancel()
    await settle()
    gone.clear()
    gc.collect()

    assert (
        sum(type(thing) is asyncio.Future and thing.cancelled() for thing in gc.get_objects()) < 50
    )
    assert patient.status == "waiting"
