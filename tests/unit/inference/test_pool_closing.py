"""Closing a pool fails every waiting caller and unloads every model."""

from __future__ import annotations

import asyncio
import threading

import pytest

from embedder.core.errors import Unavailable
from embedder.inference.pool import ModelPool
from embedder.inference.residency import LoadState
from tests.unit.inference.fake_pool import (
    FakeLoader,
    Model,
    PoolUser,
    pinned,
    settle,
    states,
    use_in_turn,
)
from tests.unit.waiting import LONG_S


async def test_closing_unloads_unused_models_and_refuses_further_use() -> None:
    loader = FakeLoader({"a": 1, "b": 1})
    pool = loader.pool()
    await use_in_turn(loader, pool, "a")
    await pinned(loader, pool, "b")
    await pool.close()
    await pool.close()

    assert loader.log[2:] == ["unload a", "unload b"]
    assert pool.states() == []
    pool.unpin("b")
    for attempt in (pool.use("a").__aenter__(), pool.pin("a")):
        with pytest.raises(Unavailable, match="closed"):
            await attempt


async def test_closing_unloads_a_used_model_after_its_last_use() -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()
    first, second = PoolUser(pool, "a"), PoolUser(pool, "a")
    await loader.finish_loads()
    await pinned(loader, pool, "a")
    await pool.close()
    refused = PoolUser(pool, "a")
    first.release()
    await settle()
    with_one_left = [*loader.log]
    second.release()
    await settle()

    assert refused.status == "Unavailable"
    assert with_one_left == ["load a"]
    assert loader.log == ["load a", "unload a"]
    assert pool.states() == []


async def test_closing_fails_waiting_callers_and_unloads_a_finished_load() -> None:
    loader = FakeLoader({"a": 1, "b": 1})
    pool = loader.pool()
    loading, waiting = PoolUser(pool, "a"), PoolUser(pool, "b")
    await settle()
    await pool.close()
    await settle()
    before = loading.status, waiting.status, states(pool)
    await loader.finish_loads()

    assert before == ("Unavailable", "Unavailable", {"a": LoadState.LOADING})
    assert loader.log == ["load a", "unload a"]
    assert pool.states() == []


async def test_a_load_may_fail_after_closing() -> None:
    loader = FakeLoader({"a": 1})
    loader.broken["a"] = OSError("gone")
    pool = loader.pool()
    PoolUser(pool, "a")
    await settle()
    await pool.close()
    await loader.finish_loads()

    assert loader.alive == []
    assert {*states(pool).values()} <= {LoadState.FAILED}


def test_a_load_that_ends_while_the_loop_closes_is_unloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unloaded, closing = list[str](), threading.Event()

    def load(key: str) -> Model:
        assert closing.wait(LONG_S)
        return Model(key, 1)

    async def program() -> None:
        pool: ModelPool[str, Model] = ModelPool(
            load,
            unload=lambda model: unloaded.append(model.key),
            size=lambda model: model.bytes,
            estimate=lambda _: 1,
        )
        waiting = asyncio.create_task(pool.pin("a"))
        await asyncio.sleep(0)
        await pool.close()
        await asyncio.gather(waiting, return_exceptions=True)
        # The loop waits for its threads last, in a thread of its own.
        loop = asyncio.get_running_loop()
        shut_down = loop.shutdown_default_executor

        async def end_loads(*timeout_s: float) -> None:
            loop.call_soon(closing.set)
            await shut_down(*timeout_s)

        monkeypatch.setattr(loop, "shutdown_default_executor", end_loads)

    asyncio.run(program())

    assert unloaded == ["a"]
