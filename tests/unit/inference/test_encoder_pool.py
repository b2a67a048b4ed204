"""An encoder pool loads and evicts models without disturbing running requests."""

from __future__ import annotations

import asyncio
import gc
import random
from pathlib import Path

import pytest

from embedder.core.deadline import Deadline
from embedder.core.errors import (
    ConfigurationError,
    DeadlineExceeded,
    ModelDrift,
    PoolFull,
)
from embedder.core.types import Priority, TokenBatch
from embedder.inference.encoder_pool import EncoderPool
from embedder.settings.model import ModelSettings
from tests.unit.fake_model import settle
from tests.unit.inference.fake_loads import (
    BYTES,
    FakeLoads,
    clock_of,
    encode,
    encoder_pool,
    expected,
    pinned,
    ready,
    wait_for_event,
)

Models = dict[str, ModelSettings]


async def test_every_model_has_its_own_answers_and_all_share_one_thread(
    models: Models, loads: FakeLoads, pool: EncoderPool
) -> None:
    answers = await asyncio.gather(
        *(encode(pool, models[name], number) for number in range(10) for name in "ab")
    )

    assert answers == [expected(number) for number in range(10) for _ in "ab"]
    assert sorted(loads.names) == ["a", "b"]
    assert len({*loads.devices["a"].threads, *loads.devices["b"].threads}) == 1


async def test_a_model_is_loaded_once_for_all_callers(
    models: Models, loads: FakeLoads, pool: EncoderPool
) -> None:
    infos = await asyncio.gather(*(pool.describe(models["a"]) for _ in range(50)))

    assert {info.name for info in infos} == {"a"}
    assert loads.names == ["a"]


async def test_an_evicted_model_is_freed_at_once(
    models: Models, loads: FakeLoads, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = encoder_pool(monkeypatch, loads, room=2)
    for name in "aba":
        await encode(pool, models[name], 1)
    gc.disable()
    try:
        await encode(pool, models["c"], 1)
        in_memory = set(loads.devices)
    finally:
        gc.enable()

    assert ready(pool) == {"a", "c"}
    assert in_memory == {"a", "c"}
    assert await encode(pool, models["b"], 7) == expected(7)
    assert loads.names == ["a", "b", "c", "b"]


async def test_a_pinned_model_stays_even_if_least_recently_used(
    models: Models, loads: FakeLoads, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = encoder_pool(monkeypatch, loads, room=2)
    await pool.pin([models["a"]])
    for name in "bcd":
        await encode(pool, models[name], 1)

    assert ready(pool) == {"a", "d"}
    assert pinned(pool) == {"a"}


async def test_a_model_that_does_not_fit_beside_pinned_ones_is_refused(
    models: Models, loads: FakeLoads, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = encoder_pool(monkeypatch, loads, room=2)
    await pool.pin([models["a"], models["b"]])
    with pytest.raises(PoolFull):
        await encode(pool, models["c"], 1)

    assert await encode(pool, models["b"], 1) == expected(1)


async def test_a_model_in_use_is_not_evicted(
    models: Models, loads: FakeLoads, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = encoder_pool(monkeypatch, loads, room=2)
    await encode(pool, models["a"], 1)
    await encode(pool, models["b"], 1)
    device = loads.devices["a"]
    device.block()
    running = asyncio.ensure_future(encode(pool, models["a"], 5))
    await wait_for_event(device.entered)
    waiting = asyncio.ensure_future(encode(pool, models["a"], 6))
    other = asyncio.ensure_future(pool.describe(models["c"]))
    assert (await other).name == "c"
    resident = ready(pool)
    device.gate.set()

    assert await running == expected(5)
    assert await waiting == expected(6)
    assert resident == {"a", "c"}, "b was used after a, but a was in use"


async def test_two_hundred_requests_for_four_models_keep_a_budget_of_two(
    models: Models, loads: FakeLoads, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = encoder_pool(monkeypatch, loads, room=2)
    order = random.Random(3)
    most = 0

    async def ask(number: int) -> bool:
        nonlocal most
        for _ in range(order.randrange(20)):
            await asyncio.sleep(0)
        name = order.choice("abcd")
        right = await encode(pool, models[name], number) == expected(number)
        most = max(most, sum(state.bytes for state in pool.states() if state.state == "ready"))
        return right

    assert all(await asyncio.gather(*(ask(number) for number in range(200))))
    assert most <= 2 * BYTES
    assert len(ready(pool)) <= 2


async def test_cancelling_one_caller_during_a_load_does_not_affect_others(
    models: Models, loads: FakeLoads, pool: EncoderPool
) -> None:
    loads.block()
    leaving = asyncio.ensure_future(encode(pool, models["a"], 1))
    staying = asyncio.ensure_future(encode(pool, models["a"], 2))
    await wait_for_event(loads.entered)
    leaving.cancel()
    await settle()
    loads.gate.set()

    assert await staying == expected(2)
    assert leaving.cancelled()


async def test_a_deadline_holds_while_a_model_loads(
    models: Models, loads: FakeLoads, pool: EncoderPool
) -> None:
    loads.block()
    with pytest.raises(DeadlineExceeded):
        await pool.encode(
            models["a"],
            TokenBatch.of([[1]]),
            priority=Priority.INTERACTIVE,
            deadline=Deadline.after(0.02),
        )
    loads.gate.set()

    assert await encode(pool, models["a"], 1) == expected(1)


async def test_idle_models_are_unloaded_unless_pinned(
    models: Models, loads: FakeLoads, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = encoder_pool(monkeypatch, loads, idle_s=60)
    clock = clock_of(pool)
    await pool.pin([models["a"]])
    await encode(pool, models["b"], 1)
    clock.now = 59.0
    await pool.unload_idle()
    before = ready(pool)
    clock.now = 61.0
    await pool.unload_idle()

    assert before == {"a", "b"}
    assert ready(pool) == {"a"}


async def test_a_failed_load_is_reported_and_other_models_keep_working(
    models: Models, loads: FakeLoads, pool: EncoderPool
) -> None:
    loads.faults["b"] = ModelDrift("b", "text", 0.1, 0.01)
    await encode(pool, models["a"], 1)
    with pytest.raises(ModelDrift):
        await encode(pool, models["b"], 1)
    errors = {state.error for state in pool.states() if state.state == "failed"}
    del loads.faults["b"]

    assert await encode(pool, models["a"], 1) == expected(1)
    assert len(errors) == 1
    assert "ModelDrift" in str(errors)
    assert await encode(pool, models["b"], 1) == expected(1), "it may work the next time"


async def test_a_model_with_missing_files_is_refused_and_reported(
    models: Models, tmp_path: Path, pool: EncoderPool
) -> None:
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError):
        await encode(pool, ModelSettings(name=str(empty)), 1)

    assert [state.state for state in pool.states()] == ["failed"]
    assert await encode(pool, models["a"], 1) == expected(1)
