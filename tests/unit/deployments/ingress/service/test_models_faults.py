"""Failed loads, cancelled callers, and lists of models that change meanwhile."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from deployments.ingress.service import models
from embedder.core.errors import ConfigurationError, UnknownModel
from tests.unit.deployments.ingress.loads import Served, model, settle
from tests.unit.waiting import until

NO_WEIGHTS = ConfigurationError("no weights in /srv/secret")


async def test_a_load_that_fails_keeps_the_old_model_and_is_tried_again() -> None:
    served = Served()
    (old,) = await served.start(model("one", "prod"))
    await served.configure(model("two", "prod"))
    await served.loads.fail(NO_WEIGHTS)
    state = served.models.state("prod")
    meanwhile = await served.models.get("prod")
    await served.loads.fail(RuntimeError("of another kind"))
    new = await served.loads.finish()

    assert meanwhile is state.serving is old
    assert (state.state, state.problem) == ("failed", "no weights in /srv/secret")
    assert await served.models.get("prod") is new
    assert (served.state("prod"), served.models.state("prod").problem) == ("ready", None)


async def test_a_load_that_fails_is_not_tried_again_at_once() -> None:
    served = Served(retry_s=1000)
    await served.configure(model("one"))
    await served.loads.fail(NO_WEIGHTS)
    await settle()

    assert served.loads.running == []


async def test_a_request_gets_the_error_of_a_failed_load_and_the_next_one_retries() -> None:
    served = Served(retry_s=1000)
    await served.configure(model("one"))
    waiting = await served.ask()
    await served.loads.fail(NO_WEIGHTS)
    after = await served.ask()
    connected = await served.loads.finish()

    with pytest.raises(ConfigurationError, match="no weights"):
        await waiting
    assert await after is connected


async def test_a_problem_is_forgotten_with_the_settings_that_had_it() -> None:
    served = Served(retry_s=1000)
    await served.start(model("one", "prod"))
    await served.configure(model("missing", "prod"))
    await served.loads.fail(NO_WEIGHTS)
    failed = served.state("prod")
    await served.configure(model("two", "prod"))

    assert (failed, served.state("prod")) == ("failed", "changing")
    assert served.models.state("prod").problem is None


@pytest.mark.parametrize("late", [False, True])
async def test_an_attempt_that_is_out_of_date_leaves_no_problem_behind(late: bool) -> None:
    served = Served()
    await served.start(model("one", "prod"))
    await served.configure(model("two", "prod"))
    await served.configure(model("three", "prod"))
    if late:
        await served.loads.finish(1)
    await served.loads.fail(NO_WEIGHTS, 0)

    assert served.state("prod") == ("ready" if late else "changing")
    assert len(served.loads.running) == (0 if late else 1)


async def test_a_cancelled_caller_does_not_cancel_the_load_of_others() -> None:
    served = Served()
    await served.start(model("one"), model("two"))
    leaving, staying = await served.ask("two"), await served.ask("two")
    leaving.cancel()
    await settle()
    connected = await served.loads.finish()

    assert leaving.cancelled()
    assert await staying is connected


async def test_a_load_ends_after_all_callers_are_cancelled() -> None:
    served = Served()
    await served.start(model("one"), model("two"))
    leaving = await served.ask("two")
    leaving.cancel()
    await settle()
    connected = await served.loads.finish()

    assert await served.models.get("two") is connected


@pytest.mark.parametrize("after", [("two", "side"), ("two", "other")])
async def test_a_caller_gets_the_model_that_it_waited_for_despite_a_change(
    after: tuple[str, str],
) -> None:
    served = Served()
    await served.start(model("one"), model("first", "side"))
    waiting = await served.ask("side")
    await served.configure(model("one"), model(*after))
    assert not waiting.done()
    connected = await served.loads.finish()

    assert await waiting is connected
    assert connected.settings.name == "first"


async def test_a_caller_of_a_replaced_model_that_fails_gets_the_next_one() -> None:
    served = Served()
    await served.configure(model("mistyped", "prod"))
    waiting = await served.ask("prod")
    await served.configure(model("one", "prod"))
    await served.loads.fail(NO_WEIGHTS)
    assert not waiting.done()
    connected = await served.loads.finish()

    assert await waiting is connected


async def test_a_caller_of_a_removed_model_that_fails_gets_an_unknown_model() -> None:
    served = Served()
    await served.start(model("one"), model("two"))
    waiting = await served.ask("two")
    await served.configure(model("one"))
    await served.loads.fail(NO_WEIGHTS)

    with pytest.raises(UnknownModel):
        await waiting


async def test_nothing_is_loaded_for_a_removed_name() -> None:
    served = Served()
    await served.start(model("one"), model("two"))
    await served.configure(model("one"), model("missing", pinned=True))
    await served.loads.fail(NO_WEIGHTS)
    assert len(served.loads.running) == 1
    await served.configure(model("one"))
    await served.loads.fail(NO_WEIGHTS)

    assert served.loads.running == []


@pytest.mark.usefixtures("virtual_time")
async def test_a_load_outlives_the_deadline_of_its_first_caller() -> None:
    served = Served()
    await served.configure(model("one"))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(served.models.get(), 60)
    await served.loads.finish()

    assert served.state() == "ready"


async def test_a_load_that_fails_without_callers_leaves_no_unretrieved_exception(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The records that pytest keeps would hold the error, and so the task that is to go.
    monkeypatch.setattr(models.logger, "disabled", True)
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: complaints.append(said))
    served = Served()
    await served.start(model("one"), model("two"))
    leaving = await served.ask("two")
    leaving.cancel()
    await settle()
    del leaving
    await served.loads.fail(ConfigurationError("its frames are held by nobody"))
    await served.configure(model("one"))
    gc.collect()

    assert complaints == []


async def test_a_replaced_model_is_released_after_its_last_request() -> None:
    served = Served()
    (connected,) = await served.start(model("one", "prod"))
    old = weakref.ref(connected)
    del connected
    served.loads.connected.clear()
    await served.configure(model("two", "prod"))
    gc.collect()
    meanwhile = old() is not None
    await served.loads.finish()
    # A collection that another thread has begun makes one asked for here return with nothing done.
    await until(lambda: bool(gc.collect() or True) and old() is None)

    assert meanwhile
