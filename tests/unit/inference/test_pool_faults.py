"""A failing load, estimate or unload affects only the callers of its model."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from embedder.core.errors import BackendFailure
from embedder.inference.pool import ModelPool
from embedder.inference.residency import LoadState
from tests.unit.inference.fake_pool import FakeLoader, Model, PoolUser, settle, states, use_in_turn


async def test_a_failed_load_fails_its_callers_and_no_other_model() -> None:
    loader = FakeLoader({"a": 1, "b": 1})
    loader.broken["b"] = OSError("no such file")
    pool = loader.pool()
    user = PoolUser(pool, "a")
    await loader.finish_loads()
    users = [PoolUser(pool, "b") for _ in range(3)]
    await loader.finish_loads()

    assert [user.task.exception() for user in users] == [loader.broken["b"]] * 3
    assert user.status == "using"
    assert states(pool) == {"a": LoadState.READY, "b": LoadState.FAILED}


async def test_the_next_use_after_a_failure_tries_again() -> None:
    loader = FakeLoader({"a": 1})
    loader.broken["a"] = OSError("busy")
    pool = loader.pool()
    failed = PoolUser(pool, "a")
    await loader.finish_loads()
    after_failure = pool.states()[0].error
    del loader.broken["a"]
    user = PoolUser(pool, "a")
    await loader.finish_loads()

    assert failed.status == "OSError"
    assert after_failure == "OSError: busy"
    assert user.status == "using"
    assert pool.states()[0].error is None


async def test_an_error_is_kept_during_a_retry_that_is_cancelled() -> None:
    loader = FakeLoader({"a": 1, "slow": 1})
    loader.broken["a"] = OSError("busy")
    pool = loader.pool()
    failed = PoolUser(pool, "a")
    await loader.finish_loads()
    PoolUser(pool, "slow")
    again = PoolUser(pool, "a")
    await settle()
    waiting = {state.key: state for state in pool.states()}["a"]
    again.task.cancel()
    await settle()
    given_up = {state.key: state for state in pool.states()}["a"]

    assert failed.status == "OSError"
    assert (waiting.state, waiting.error) == (LoadState.WAITING, "OSError: busy")
    assert (given_up.state, given_up.error, given_up.bytes) == (
        LoadState.FAILED,
        "OSError: busy",
        0,
    )


async def test_a_failed_load_starts_the_next_one() -> None:
    loader = FakeLoader({"a": 1, "b": 1})
    loader.broken["a"] = OSError("busy")
    pool = loader.pool(1)
    users = [PoolUser(pool, "a"), PoolUser(pool, "b")]
    await loader.finish_loads()

    assert [user.status for user in users] == ["OSError", "using"]


@pytest.mark.parametrize(
    "error", [StopIteration(), SystemExit(2), KeyboardInterrupt(), asyncio.CancelledError()]
)
async def test_a_load_that_raises_a_base_exception_is_a_backend_failure(
    error: BaseException,
) -> None:
    loader = FakeLoader({"a": 1})
    loader.broken["a"] = error
    pool = loader.pool()
    user = PoolUser(pool, "a")
    await loader.finish_loads()

    told = user.task.exception()

    assert isinstance(told, BackendFailure)
    assert type(error).__name__ in told.reason
    assert states(pool) == {"a": LoadState.FAILED}


async def test_stop_iteration_in_a_real_thread_fails_the_load() -> None:
    def load(key: str) -> int:
        raise StopIteration

    pool: ModelPool[str, int] = ModelPool(
        load, unload=lambda _: None, size=lambda _: 1, estimate=lambda _: 1
    )

    with pytest.raises(BackendFailure):
        await pool.use("a").__aenter__()


async def test_a_failing_estimate_fails_before_any_eviction() -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool(1)
    await use_in_turn(loader, pool, "a")
    user = PoolUser(pool, "unknown")
    await loader.finish_loads()

    assert user.status == "KeyError"
    assert states(pool) == {"a": LoadState.READY, "unknown": LoadState.FAILED}
    assert loader.log == ["load a"]


async def test_a_model_that_cannot_be_measured_is_unloaded() -> None:
    loader = FakeLoader({"a": 1})

    def size(model: Model) -> int:
        raise ValueError(model.key)

    pool: ModelPool[str, Model] = ModelPool(
        loader.load, unload=loader.unload, size=size, estimate=lambda _: 1, max_bytes=1
    )
    user = PoolUser(pool, "a")
    await loader.finish_loads()

    assert user.status == "ValueError"
    assert loader.log == ["load a", "unload a"]
    assert states(pool) == {"a": LoadState.FAILED}


async def test_a_load_without_a_thread_fails_and_can_be_retried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()

    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "run_in_executor", refuse)
        failed = PoolUser(pool, "a")
        await settle()
    user = PoolUser(pool, "a")
    await loader.finish_loads()

    assert (failed.status, user.status) == ("RuntimeError", "using")


async def test_a_cancelled_executor_future_fails_the_load() -> None:
    loader = FakeLoader({"a": 1})
    pool = loader.pool()
    user = PoolUser(pool, "a")
    await settle()
    loader.pending.pop()[0].cancel()
    await settle()

    assert user.status == "BackendFailure"
    assert states(pool) == {"a": LoadState.FAILED}


async def test_an_unload_that_raises_is_logged_and_counts_as_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loader = FakeLoader({"a": 1, "b": 1, "c": 2})

    def unload(model: Model) -> None:
        loader.unload(model)
        if model.key == "a":
            raise OSError("stuck")

    pool: ModelPool[str, Model] = ModelPool(
        loader.load,
        unload=unload,
        size=lambda model: model.bytes,
        estimate=lambda key: loader.sizes[key],
        max_bytes=2,
    )
    await use_in_turn(loader, pool, "a", "b", "c")
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]

    assert loader.log == ["load a", "load b", "unload a", "unload b", "load c"]
    assert ["'a'" in record.getMessage() for record in errors] == [True]
    assert states(pool) == {"c": LoadState.READY}


async def test_an_unload_may_unpin_another_model() -> None:
    """The pool is in a consistent state whenever it calls ``unload``."""
    loader = FakeLoader({"a": 1, "b": 1, "c": 1, "d": 1})

    def unload(model: Model) -> None:
        loader.unload(model)
        if model.key == "a":
            pool.unpin("b")

    pool: ModelPool[str, Model] = ModelPool(
        loader.load, unload=unload, size=lambda _: 1, estimate=lambda _: 1, max_bytes=2
    )
    await use_in_turn(loader, pool, "a", "b")
    await pool.pin("b")
    users = [PoolUser(pool, "c"), PoolUser(pool, "d")]
    await loader.finish_loads()

    assert [user.status for user in users] == ["using", "using"]
    assert loader.log[2:] == ["unload a", "load c", "unload b", "load d"]
