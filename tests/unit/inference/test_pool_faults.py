"""A pool whose parts fail: the fault is told to those it concerns, and nobody else notices."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from embedder.core.errors import BackendFailure
from embedder.inference.pool import ModelPool
from embedder.inference.residency import State
from tests.unit.inference.test_pool import Model, Visitor, Workshop, settle, states, use_once


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Leave it to the counts of references alone to free anything."""
    gc.disable()
    yield
    gc.enable()


async def test_a_failed_load_is_told_to_all_who_wait_and_harms_no_other_model() -> None:
    workshop = Workshop({"a": 1, "b": 1})
    workshop.broken["b"] = OSError("no such file")
    pool = workshop.pool()
    user = Visitor(pool, "a")
    await workshop.make()
    visitors = [Visitor(pool, "b") for _ in range(3)]
    await workshop.make()

    assert [visitor.task.exception() for visitor in visitors] == [workshop.broken["b"]] * 3
    assert user.status == "inside"
    assert states(pool) == {"a": State.READY, "b": State.FAILED}


async def test_the_next_use_after_a_failure_tries_again() -> None:
    workshop = Workshop({"a": 1})
    workshop.broken["a"] = OSError("busy")
    pool = workshop.pool()
    failed = Visitor(pool, "a")
    await workshop.make()
    after_failure = pool.states()[0].error
    del workshop.broken["a"]
    visitor = Visitor(pool, "a")
    await workshop.make()

    assert failed.status == "OSError"
    assert after_failure == "OSError: busy"
    assert visitor.status == "inside"
    assert pool.states()[0].error is None


async def test_a_failure_is_remembered_while_it_is_tried_again_and_given_up() -> None:
    workshop = Workshop({"a": 1, "slow": 1})
    workshop.broken["a"] = OSError("busy")
    pool = workshop.pool()
    failed = Visitor(pool, "a")
    await workshop.make()
    Visitor(pool, "slow")
    again = Visitor(pool, "a")
    await settle()
    waiting = {state.key: state for state in pool.states()}["a"]
    again.task.cancel()
    await settle()
    given_up = {state.key: state for state in pool.states()}["a"]

    assert failed.status == "OSError"
    assert (waiting.state, waiting.error) == (State.WAITING, "OSError: busy")
    assert (given_up.state, given_up.error, given_up.bytes) == (State.FAILED, "OSError: busy", 0)


async def test_the_load_behind_a_failed_one_begins() -> None:
    workshop = Workshop({"a": 1, "b": 1})
    workshop.broken["a"] = OSError("busy")
    pool = workshop.pool(1)
    visitors = [Visitor(pool, "a"), Visitor(pool, "b")]
    await workshop.make()

    assert [visitor.status for visitor in visitors] == ["OSError", "inside"]


@pytest.mark.parametrize(
    "error", [StopIteration(), SystemExit(2), KeyboardInterrupt(), asyncio.CancelledError()]
)
async def test_a_load_that_ends_strangely_is_a_failure_like_any_other(error: BaseException) -> None:
    workshop = Workshop({"a": 1})
    workshop.broken["a"] = error
    pool = workshop.pool()
    visitor = Visitor(pool, "a")
    await workshop.make()

    told = visitor.task.exception()

    assert isinstance(told, BackendFailure)
    assert type(error).__name__ in told.reason
    assert states(pool) == {"a": State.FAILED}


async def test_a_strange_end_in_a_real_thread_hangs_nobody() -> None:
    def load(key: str) -> int:
        raise StopIteration

    pool: ModelPool[str, int] = ModelPool(
        load, unload=lambda _: None, size=lambda _: 1, estimate=lambda _: 1
    )

    with pytest.raises(BackendFailure):
        await asyncio.wait_for(pool.use("a").__aenter__(), 5)


async def test_a_failing_estimate_is_told_before_anything_has_to_go() -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool(1)
    await use_once(workshop, pool, "a")
    visitor = Visitor(pool, "unknown")
    await workshop.make()

    assert visitor.status == "KeyError"
    assert states(pool) == {"a": State.READY, "unknown": State.FAILED}
    assert workshop.log == ["load a"]


async def test_a_model_that_cannot_be_measured_is_unloaded() -> None:
    workshop = Workshop({"a": 1})

    def size(model: Model) -> int:
        raise ValueError(model.key)

    pool: ModelPool[str, Model] = ModelPool(
        workshop.load, unload=workshop.unload, size=size, estimate=lambda _: 1, max_bytes=1
    )
    visitor = Visitor(pool, "a")
    await workshop.make()

    assert visitor.status == "ValueError"
    assert workshop.log == ["load a", "unload a"]
    assert states(pool) == {"a": State.FAILED}


async def test_without_a_thread_to_load_in_the_load_fails_and_the_next_may_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()

    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "run_in_executor", refuse)
        failed = Visitor(pool, "a")
        await settle()
    visitor = Visitor(pool, "a")
    await workshop.make()

    assert (failed.status, visitor.status) == ("RuntimeError", "inside")


async def test_a_load_whose_thread_is_shut_down_hangs_nobody() -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()
    visitor = Visitor(pool, "a")
    await settle()
    workshop.jobs.pop()[0].cancel()
    await settle()

    assert visitor.status == "BackendFailure"
    assert states(pool) == {"a": State.FAILED}


async def test_an_unload_that_raises_is_logged_and_counts_as_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    workshop = Workshop({"a": 1, "b": 1, "c": 2})

    def unload(model: Model) -> None:
        workshop.unload(model)
        if model.key == "a":
            raise OSError("stuck")

    pool: ModelPool[str, Model] = ModelPool(
        workshop.load,
        unload=unload,
        size=lambda model: model.bytes,
        estimate=lambda key: workshop.sizes[key],
        max_bytes=2,
    )
    await use_once(workshop, pool, "a", "b", "c")
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]

    assert workshop.log == ["load a", "load b", "unload a", "unload b", "load c"]
    assert ["'a'" in record.getMessage() for record in errors] == [True]
    assert states(pool) == {"c": State.READY}


async def test_an_unload_may_unpin_another_model() -> None:
    """The pool is whole before it calls out: what comes back finds nothing half done."""
    workshop = Workshop({"a": 1, "b": 1, "c": 1, "d": 1})

    def unload(model: Model) -> None:
        workshop.unload(model)
        if model.key == "a":
            pool.unpin("b")

    pool: ModelPool[str, Model] = ModelPool(
        workshop.load, unload=unload, size=lambda _: 1, estimate=lambda _: 1, max_bytes=2
    )
    await use_once(workshop, pool, "a", "b")
    await pool.pin("b")
    visitors = [Visitor(pool, "c"), Visitor(pool, "d")]
    await workshop.make()

    assert [visitor.status for visitor in visitors] == ["inside", "inside"]
    assert workshop.log[2:] == ["unload a", "load c", "unload b", "load d"]


@pytest.mark.usefixtures("without_collector")
async def test_nothing_of_the_pool_keeps_an_unloaded_model_alive() -> None:
    pool: ModelPool[str, Model] = ModelPool(
        lambda key: Model(key, 1),
        unload=lambda _: None,
        size=lambda _: 1,
        estimate=lambda _: 1,
        idle_unload_s=0,
    )
    async with pool.use("a") as model:
        watch = weakref.ref(model)
    del model
    await pool.unload_idle()
    await settle()  # the loop still holds what it woke this test with

    assert watch() is None


@pytest.mark.usefixtures("without_collector")
async def test_nothing_of_the_pool_keeps_what_a_failed_load_had_read_alive() -> None:
    watches: list[weakref.ref[Model]] = []

    def load(key: str) -> Model:
        half_a_model = Model(key, 1)
        watches.append(weakref.ref(half_a_model))
        raise OSError("the other half is missing")

    pool: ModelPool[str, Model] = ModelPool(
        load, unload=lambda _: None, size=lambda _: 1, estimate=lambda _: 1
    )

    async def user() -> str:
        try:
            async with pool.use("a"):
                return "inside"
        except OSError as error:
            return str(error)

    told = await asyncio.gather(user(), user())

    assert {*told} == {"the other half is missing"}
    assert [watch() for watch in watches] == [None]
