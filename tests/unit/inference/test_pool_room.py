"""A pool with a budget: who has to go, who has to wait, and who is refused."""

from __future__ import annotations

import pytest

from embedder.core.errors import InvalidInput, PoolFull
from embedder.inference.residency import State
from tests.unit.inference.test_pool import Visitor, Workshop, pinned, settle, states, use_once


async def test_of_two_the_least_recently_used_goes_for_a_third() -> None:
    workshop = Workshop({"a": 1, "b": 1, "c": 1})
    pool = workshop.pool(2)
    await use_once(workshop, pool, "a", "b", "a", "c")

    assert workshop.log == ["load a", "load b", "unload b", "load c"]


async def test_pinned_stays_and_in_flight_does_not_fail_while_a_third_comes() -> None:
    workshop = Workshop({"pinned": 1, "idle": 1, "busy": 1, "third": 1})
    pool = workshop.pool(3)
    await pinned(workshop, pool, "pinned")
    busy = Visitor(pool, "busy")
    await workshop.make()
    await use_once(workshop, pool, "idle", "third")

    assert workshop.log[3:] == ["unload idle", "load third"]
    assert busy.status == "inside"
    busy.leave()
    await busy.task


async def test_room_is_made_before_the_load_begins() -> None:
    workshop = Workshop({"a": 2, "b": 1, "c": 3})
    pool = workshop.pool(3)
    await use_once(workshop, pool, "a", "b")
    Visitor(pool, "c")
    await settle()

    assert workshop.log[2:] == ["unload a", "unload b"]
    assert states(pool) == {"c": State.LOADING}


async def test_no_more_goes_than_it_takes() -> None:
    workshop = Workshop({"a": 2, "b": 2, "c": 2, "d": 3})
    pool = workshop.pool(7)
    await use_once(workshop, pool, "a", "b", "c", "d")

    assert workshop.log[3:] == ["unload a", "load d"]


async def test_without_a_bound_nothing_goes() -> None:
    workshop = Workshop({"a": 10**15, "b": 10**15})
    pool = workshop.pool()
    await use_once(workshop, pool, "a", "b")

    assert workshop.log == ["load a", "load b"]


async def test_a_load_waits_until_enough_is_released_and_no_longer() -> None:
    workshop = Workshop({"a": 1, "b": 1, "c": 2})
    pool = workshop.pool(2)
    first, second = Visitor(pool, "a"), Visitor(pool, "b")
    await workshop.make()
    third = Visitor(pool, "c")
    await settle()
    first.leave()
    await settle()
    with_one_released = len(workshop.jobs)
    second.leave()
    await workshop.make()

    assert with_one_released == 0
    assert third.status == "inside"
    assert workshop.log[2:] == ["unload a", "unload b", "load c"]


async def test_nothing_goes_for_a_load_that_has_to_wait_all_the_same() -> None:
    workshop = Workshop({"idle": 1, "busy": 1, "big": 2})
    pool = workshop.pool(2)
    await use_once(workshop, pool, "idle")
    Visitor(pool, "busy")
    await workshop.make()
    Visitor(pool, "big")
    await settle()

    assert states(pool) == {
        "idle": State.READY,
        "busy": State.READY,
        "big": State.WAITING,
    }


async def test_what_never_fits_is_refused_at_once_even_during_another_load() -> None:
    workshop = Workshop({"pinned": 2, "slow": 1, "big": 2})
    pool = workshop.pool(3)
    await pinned(workshop, pool, "pinned")
    slow, big = Visitor(pool, "slow"), Visitor(pool, "big")
    await settle()
    error = big.task.exception()

    assert isinstance(error, PoolFull)
    assert error.args == ("big", 2, 3, 2)
    assert slow.status == "waiting"
    assert states(pool)["big"] is State.FAILED


async def test_a_pin_that_leaves_no_room_refuses_those_who_wait_for_some() -> None:
    workshop = Workshop({"a": 1, "big": 2, "small": 1})
    pool = workshop.pool(2)
    user = Visitor(pool, "a")
    await workshop.make()
    big = Visitor(pool, "big")
    await settle()
    small = Visitor(pool, "small")
    await settle()
    before = big.status, small.status
    await pool.pin("a")
    await workshop.make()

    assert before == ("waiting", "waiting")
    assert (big.status, small.status) == ("PoolFull", "inside")
    assert user.status == "inside"


async def test_a_model_may_go_when_it_has_been_unpinned_as_often_as_pinned() -> None:
    workshop = Workshop({"a": 1, "b": 1})
    pool = workshop.pool(1)
    for _ in range(2):
        await pinned(workshop, pool, "a")
    pool.unpin("a")
    refused = Visitor(pool, "b")
    await settle()
    pool.unpin("a")
    taken = Visitor(pool, "b")
    await workshop.make()

    assert refused.status == "PoolFull"
    assert taken.status == "inside"
    assert workshop.log == ["load a", "unload a", "load b"]


async def test_an_unpinned_model_makes_room_for_a_load_that_waits() -> None:
    workshop = Workshop({"a": 1, "b": 1, "c": 1})
    pool = workshop.pool(2)
    await pinned(workshop, pool, "a")
    Visitor(pool, "b")
    await workshop.make()
    waiting = Visitor(pool, "c")
    await settle()
    pool.unpin("a")
    await workshop.make()

    assert waiting.status == "inside"
    assert workshop.log == ["load a", "load b", "unload a", "load c"]


async def test_only_a_pinned_model_can_be_unpinned() -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()
    await use_once(workshop, pool, "a")

    for key in ("a", "nowhere"):
        with pytest.raises(InvalidInput, match=f"'{key}', which is not pinned"):
            pool.unpin(key)


async def test_a_model_larger_than_expected_makes_more_of_the_idle_go() -> None:
    workshop = Workshop({"a": 1, "b": 1, "c": 2}, estimates={"a": 1, "b": 1, "c": 1})
    pool = workshop.pool(3)
    await use_once(workshop, pool, "a", "b")
    visitor = Visitor(pool, "c")
    await workshop.make()

    assert visitor.status == "inside"
    assert workshop.log == ["load a", "load b", "load c", "unload a"]


async def test_a_model_that_can_never_fit_is_unloaded_and_not_loaded_a_second_time() -> None:
    workshop = Workshop({"a": 1, "b": 9}, estimates={"a": 1, "b": 1})
    pool = workshop.pool(2)
    await use_once(workshop, pool, "a")
    first = Visitor(pool, "b")
    await workshop.make()
    second = Visitor(pool, "b")
    await workshop.make()

    assert (first.status, second.status) == ("PoolFull", "PoolFull")
    assert workshop.log == ["load a", "load b", "unload b"]
    assert states(pool) == {"a": State.READY, "b": State.FAILED}


async def test_a_model_larger_than_the_room_left_by_users_is_loaded_again_when_they_leave() -> None:
    workshop = Workshop({"a": 2, "b": 2}, estimates={"a": 2, "b": 1})
    pool = workshop.pool(3)
    user = Visitor(pool, "a")
    await workshop.make()
    late = Visitor(pool, "b")
    await workshop.make()
    before = late.status, pool.states()[-1].bytes
    user.leave()
    await workshop.make()

    assert before == ("waiting", 2)
    assert late.status == "inside"
    assert workshop.log == ["load a", "load b", "unload b", "unload a", "load b"]


async def test_a_model_smaller_than_expected_leaves_the_rest_to_others() -> None:
    workshop = Workshop({"a": 1, "b": 2}, estimates={"a": 3, "b": 2})
    pool = workshop.pool(3)
    visitors = [Visitor(pool, "a"), Visitor(pool, "b")]
    await workshop.make()

    assert [visitor.status for visitor in visitors] == ["inside", "inside"]
