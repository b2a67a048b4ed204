"""A pool with a budget: evictions, waiting loads and refusals."""

from __future__ import annotations

import pytest

from embedder.core.errors import InvalidInput, PoolFull
from embedder.inference.residency import LoadState
from tests.unit.inference.fake_pool import FakeLoader, PoolUser, pinned, settle, states, use_in_turn


async def test_the_least_recently_used_model_is_evicted() -> None:
    loader = FakeLoader({"a": 1, "b": 1, "c": 1})
    pool = loader.pool(2)
    await use_in_turn(loader, pool, "a", "b", "a", "c")

    assert loader.log == ["load a", "load b", "unload b", "load c"]


async def test_pinned_and_used_models_stay_while_another_is_loaded() -> None:
    loader = FakeLoader({"pinned": 1, "idle": 1, "busy": 1, "third": 1})
    pool = loader.pool(3)
    await pinned(loader, pool, "pinned")
    busy = PoolUser(pool, "busy")
    await loader.finish_loads()
    await use_in_turn(loader, pool, "idle", "third")

    assert loader.log[3:] == ["unload idle", "load third"]
    assert busy.status == "using"
    busy.release()
    await busy.task


async def test_models_are_evicted_before_a_load() -> None:
    loader = FakeLoader({"a": 2, "b": 1, "c": 3})
    pool = loader.pool(3)
    await use_in_turn(loader, pool, "a", "b")
    PoolUser(pool, "c")
    await settle()

    assert loader.log[2:] == ["unload a", "unload b"]
    assert states(pool) == {"c": LoadState.LOADING}


async def test_no_more_models_are_evicted_than_needed() -> None:
    loader = FakeLoader({"a": 2, "b": 2, "c": 2, "d": 3})
    pool = loader.pool(7)
    await use_in_turn(loader, pool, "a", "b", "c", "d")

    assert loader.log[3:] == ["unload a", "load d"]


async def test_without_a_limit_nothing_is_evicted() -> None:
    loader = FakeLoader({"a": 10**15, "b": 10**15})
    pool = loader.pool()
    await use_in_turn(loader, pool, "a", "b")

    assert loader.log == ["load a", "load b"]


async def test_a_load_starts_as_soon_as_enough_models_are_released() -> None:
    loader = FakeLoader({"a": 1, "b": 1, "c": 2})
    pool = loader.pool(2)
    first, second = PoolUser(pool, "a"), PoolUser(pool, "b")
    await loader.finish_loads()
    third = PoolUser(pool, "c")
    await settle()
    first.release()
    await settle()
    with_one_released = len(loader.pending)
    second.release()
    await loader.finish_loads()

    assert with_one_released == 0
    assert third.status == "using"
    assert loader.log[2:] == ["unload a", "unload b", "load c"]


async def test_nothing_is_evicted_for_a_load_that_must_wait_anyway() -> None:
    loader = FakeLoader({"idle": 1, "busy": 1, "big": 2})
    pool = loader.pool(2)
    await use_in_turn(loader, pool, "idle")
    PoolUser(pool, "busy")
    await loader.finish_loads()
    PoolUser(pool, "big")
    await settle()

    assert states(pool) == {
        "idle": LoadState.READY,
        "busy": LoadState.READY,
        "big": LoadState.WAITING,
    }


async def test_a_model_that_never_fits_is_refused_during_another_load() -> None:
    loader = FakeLoader({"pinned": 2, "slow": 1, "big": 2})
    pool = loader.pool(3)
    await pinned(loader, pool, "pinned")
    slow, big = PoolUser(pool, "slow"), PoolUser(pool, "big")
    await settle()
    error = big.task.exception()

    assert isinstance(error, PoolFull)
    assert error.args == ("big", 2, 3, 2)
    assert slow.status == "waiting"
    assert states(pool)["big"] is LoadState.FAILED


async def test_a_pin_that_leaves_no_room_fails_waiting_callers() -> None:
    loader = FakeLoader({"a": 1, "big": 2, "small": 1})
    pool = loader.pool(2)
    user = PoolUser(pool, "a")
    await loader.finish_loads()
    big = PoolUser(pool, "big")
    await settle()
    small = PoolUser(pool, "small")
    await settle()
    before = big.status, small.status
    await pool.pin("a")
    await loader.finish_loads()

    assert before == ("waiting", "waiting")
    assert (big.status, small.status) == ("PoolFull", "using")
    assert user.status == "using"


async def test_a_model_is_evictable_after_its_last_unpin() -> None:
    loader = FakeLoader({"a": 1, "b": 1})
    pool = loader.pool(1)
    for _ in range(2):
        await pinned(loader, pool, "a")
    pool.unpin("a")
    refused = PoolUser(pool, "b")
    await settle()
    pool.unpin("a")
    taken = PoolUser(pool, "b")
    await loader.finish_loads()

    assert refused.status == "PoolFull"
    assert taken.status == "using"
    assert loader.log == ["load a", "unload a", "load b"]


async def test_an_unpinned_model_is_evicted_for_a_waiting_load() -> None:
    loader = FakeLoader({"a": 1, "b": 1, "c": 1})
    pool = loader.pool(2)
    await pinned(loader, pool, "a")
    PoolUser(pool, "b")
    await loader.finish_loads()
    waiting = PoolUser(pool, "c")
    await settle()
    pool.unpin("a")
    await loader.finish_loads()

    assert waiting.status == "using"
    assert loader.log == ["load a", "load b", "unload a", "load c"]


async def test_only_a_pinned_model_can_be_unpinned() -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()
    await use_in_turn(loader, pool, "a")

    for key in ("a", "nowhere"):
        with pytest.raises(InvalidInput, match=f"'{key}', which is not pinned"):
            pool.unpin(key)


async def test_a_model_larger_than_estimated_evicts_more_idle_models() -> None:
    loader = FakeLoader({"a": 1, "b": 1, "c": 2}, estimates={"a": 1, "b": 1, "c": 1})
    pool = loader.pool(3)
    await use_in_turn(loader, pool, "a", "b")
    user = PoolUser(pool, "c")
    await loader.finish_loads()

    assert user.status == "using"
    assert loader.log == ["load a", "load b", "load c", "unload a"]


async def test_a_model_that_never_fits_is_not_loaded_again() -> None:
    loader = FakeLoader({"a": 1, "b": 9}, estimates={"a": 1, "b": 1})
    pool = loader.pool(2)
    await use_in_turn(loader, pool, "a")
    first = PoolUser(pool, "b")
    await loader.finish_loads()
    second = PoolUser(pool, "b")
    await loader.finish_loads()

    assert (first.status, second.status) == ("PoolFull", "PoolFull")
    assert loader.log == ["load a", "load b", "unload b"]
    assert states(pool) == {"a": LoadState.READY, "b": LoadState.FAILED}


async def test_a_model_too_large_beside_used_ones_is_loaded_again_later() -> None:
    loader = FakeLoader({"a": 2, "b": 2}, estimates={"a": 2, "b": 1})
    pool = loader.pool(3)
    user = PoolUser(pool, "a")
    await loader.finish_loads()
    late = PoolUser(pool, "b")
    await loader.finish_loads()
    before = late.status, pool.states()[-1].bytes
    user.release()
    await loader.finish_loads()

    assert before == ("waiting", 2)
    assert late.status == "using"
    assert loader.log == ["load a", "load b", "unload b", "unload a", "load b"]


async def test_a_model_smaller_than_estimated_frees_the_difference() -> None:
    loader = FakeLoader({"a": 1, "b": 2}, estimates={"a": 3, "b": 2})
    pool = loader.pool(3)
    users = [PoolUser(pool, "a"), PoolUser(pool, "b")]
    await loader.finish_loads()

    assert [user.status for user in users] == ["using", "using"]
