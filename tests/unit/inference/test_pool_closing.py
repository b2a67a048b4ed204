"""The end of a pool: nobody is left waiting, and no model is left behind."""

from __future__ import annotations

import asyncio
import time

import pytest

from embedder.core.errors import Unavailable
from embedder.inference.pool import ModelPool
from embedder.inference.residency import State
from tests.unit.inference.test_pool import (
    Model,
    Visitor,
    Workshop,
    pinned,
    settle,
    states,
    use_once,
)


async def test_closing_unloads_at_once_what_nobody_uses_and_refuses_further_use() -> None:
    workshop = Workshop({"a": 1, "b": 1})
    pool = workshop.pool()
    await use_once(workshop, pool, "a")
    await pinned(workshop, pool, "b")
    await pool.close()
    await pool.close()

    assert workshop.log[2:] == ["unload a", "unload b"]
    assert pool.states() == []
    pool.unpin("b")
    for attempt in (pool.use("a").__aenter__(), pool.pin("a")):
        with pytest.raises(Unavailable, match="closed"):
            await attempt


async def test_closing_leaves_a_model_to_its_users_until_the_last_has_left() -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()
    first, second = Visitor(pool, "a"), Visitor(pool, "a")
    await workshop.make()
    await pinned(workshop, pool, "a")
    await pool.close()
    refused = Visitor(pool, "a")
    first.leave()
    await settle()
    with_one_left = [*workshop.log]
    second.leave()
    await settle()

    assert refused.status == "Unavailable"
    assert with_one_left == ["load a"]
    assert workshop.log == ["load a", "unload a"]
    assert pool.states() == []


async def test_closing_refuses_those_who_wait_and_unloads_what_was_being_loaded() -> None:
    workshop = Workshop({"a": 1, "b": 1})
    pool = workshop.pool()
    loading, waiting = Visitor(pool, "a"), Visitor(pool, "b")
    await settle()
    await pool.close()
    await settle()
    before = loading.status, waiting.status, states(pool)
    await workshop.make()

    assert before == ("Unavailable", "Unavailable", {"a": State.LOADING})
    assert workshop.log == ["load a", "unload a"]
    assert pool.states() == []


async def test_a_load_that_fails_after_closing_troubles_nobody() -> None:
    workshop = Workshop({"a": 1})
    workshop.broken["a"] = OSError("gone")
    pool = workshop.pool()
    Visitor(pool, "a")
    await settle()
    await pool.close()
    await workshop.make()

    assert workshop.alive == []
    assert {*states(pool).values()} <= {State.FAILED}


def test_a_model_whose_load_outlasts_the_program_is_unloaded_all_the_same() -> None:
    unloaded: list[str] = []

    def load(key: str) -> Model:
        time.sleep(0.05)
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

    asyncio.run(program())

    assert unloaded == ["a"]
