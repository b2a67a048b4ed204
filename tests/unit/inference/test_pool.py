"""The pool of models: the order of loads, unloading of idle models, and reported states."""

from __future__ import annotations

import asyncio
import threading

import pytest

from embedder.core.deadline import Deadline
from embedder.inference.pool import ModelPool
from embedder.inference.residency import LoadState
from tests.unit.inference.fake_pool import FakeLoader, PoolUser, pinned, settle, states, use_in_turn


async def test_concurrent_callers_share_one_load() -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()
    users = [PoolUser(pool, "a") for _ in range(3)]
    await loader.finish_loads()

    assert loader.log == ["load a"]
    assert {user.model for user in users} == {*loader.alive}


async def test_a_ready_model_is_given_without_a_pause() -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()
    await use_in_turn(loader, pool, "a")
    tasks = asyncio.all_tasks()
    use = pool.use("a", deadline=Deadline(-1.0))

    with pytest.raises(StopIteration) as entered:
        use.__aenter__().__await__().__next__()
    in_use = pool.states()[0].in_use
    with pytest.raises(StopIteration):
        use.__aexit__(None, None, None).__await__().__next__()

    assert entered.value.value is loader.alive[0]
    assert (in_use, pool.states()[0].in_use) == (1, 0)
    assert asyncio.all_tasks() == tasks


async def test_one_model_is_loaded_at_a_time_in_the_order_of_asking() -> None:
    loader = FakeLoader({"a": 1, "b": 1, "c": 1})
    pool = loader.pool()
    for key in "bca":
        PoolUser(pool, key)
    jobs = []
    for _ in range(3):
        await settle()
        jobs.append(len(loader.pending))
        loader.finish_load()
    await settle()

    assert jobs == [1, 1, 1]
    assert loader.log == ["load b", "load c", "load a"]


async def test_idle_models_are_unloaded_unless_pinned_in_use_or_used_lately() -> None:
    loader = FakeLoader({key: 1 for key in ("pinned", "busy", "old", "late")})
    pool = loader.pool(idle_unload_s=10)
    await pinned(loader, pool, "pinned")
    PoolUser(pool, "busy")
    await use_in_turn(loader, pool, "old", "late")
    loader.clock.now = 5
    await use_in_turn(loader, pool, "late")
    loader.clock.now = 9.9
    too_early = await pool.unload_idle()
    loader.clock.now = 10
    gone = await pool.unload_idle()

    assert (too_early, gone) == ([], ["old"])
    assert loader.log[4:] == ["unload old"]
    assert {*states(pool)} == {"pinned", "busy", "late"}


async def test_without_an_idle_limit_nothing_is_unloaded() -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()
    await use_in_turn(loader, pool, "a")
    loader.clock.now = 1e9

    assert await pool.unload_idle() == []
    assert loader.alive


async def test_states_describe_each_model() -> None:
    loader = FakeLoader(
        {"ready": 3, "slow": 2, "next": 1, "broken": 1},
        estimates={"ready": 4, "slow": 2, "next": 1, "broken": 1},
    )
    pool = loader.pool()
    loader.broken["broken"] = OSError("no such file")
    first = PoolUser(pool, "ready")
    await settle()
    loader.clock.now = 7
    await loader.finish_loads()
    await asyncio.wait([PoolUser(pool, "broken").task, asyncio.create_task(loader.finish_loads())])
    first.release()
    PoolUser(pool, "slow")
    PoolUser(pool, "next")
    await settle()
    loader.clock.now = 9
    told = {state.key: state for state in pool.states()}

    assert (told["ready"].bytes, told["ready"].load_s, told["ready"].idle_s) == (3, 7, 2)
    assert (told["slow"].state, told["slow"].loading_s) == (LoadState.LOADING, 2)
    assert (told["next"].state, told["next"].loading_s) == (LoadState.WAITING, 2)
    assert told["broken"].state is LoadState.FAILED
    assert told["broken"].error == "OSError: no such file"


async def test_loads_run_in_a_thread_and_everything_else_on_the_loop() -> None:
    where: dict[str, int] = {}

    def note(what: str) -> int:
        where[what] = threading.get_ident()
        return 1

    pool: ModelPool[str, int] = ModelPool(
        note,
        unload=lambda _: where.update(unload=threading.get_ident()),
        size=lambda _: note("size"),
        estimate=lambda _: note("estimate"),
        idle_unload_s=0,
    )
    async with pool.use("load"):
        pass
    await pool.unload_idle()

    here = threading.get_ident()
    assert {what for what, thread in where.items() if thread == here} == {
        "estimate",
        "size",
        "unload",
    }
    assert where["load"] != here
