"""Several models in one process: who is loaded, who goes, and that nobody in progress suffers."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from pathlib import Path

import pytest

from embedder.core.errors import (
    ConfigurationError,
    DeadlineExceeded,
    ModelDrift,
    PoolFull,
)
from embedder.core.types import Priority, TokenBatch
from embedder.settings.model import ModelSettings
from tests.unit.fake_model import settle
from tests.unit.inference.fake_loads import (
    BYTES,
    Loads,
    encode,
    encoders,
    expected,
    happened,
    pinned,
    ready,
)

Models = dict[str, ModelSettings]


async def test_every_model_has_its_own_answers_and_all_share_one_thread(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads)
    answers = await asyncio.gather(
        *(encode(many, models[name], number) for number in range(10) for name in "ab")
    )

    assert answers == [expected(number) for number in range(10) for _ in "ab"]
    assert sorted(loads.names) == ["a", "b"]
    assert len({*loads.devices["a"].threads, *loads.devices["b"].threads}) == 1


async def test_a_model_is_loaded_once_for_all_who_ask(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads)
    infos = await asyncio.gather(*(many.describe(models["a"]) for _ in range(50)))

    assert {info.name for info in infos} == {"a"}
    assert loads.names == ["a"]


async def test_the_least_recently_used_model_makes_room_and_leaves_memory_at_once(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads, room=2)
    for name in "aba":
        await encode(many, models[name], 1)
    gc.disable()
    try:
        await encode(many, models["c"], 1)
        in_memory = set(loads.devices)
    finally:
        gc.enable()

    assert ready(many) == {"a", "c"}
    assert in_memory == {"a", "c"}
    assert await encode(many, models["b"], 7) == expected(7)
    assert loads.names == ["a", "b", "c", "b"]


async def test_what_is_pinned_stays_though_it_was_used_longest_ago(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads, room=2)
    await many.pin([models["a"]])
    for name in "bcd":
        await encode(many, models[name], 1)

    assert ready(many) == {"a", "d"}
    assert pinned(many) == {"a"}


async def test_what_does_not_fit_beside_the_pinned_is_refused(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads, room=2)
    await many.pin([models["a"], models["b"]])
    with pytest.raises(PoolFull):
        await encode(many, models["c"], 1)

    assert await encode(many, models["b"], 1) == expected(1)


async def test_a_model_in_use_is_not_taken_from_those_who_use_it(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads, room=2)
    await encode(many, models["a"], 1)
    await encode(many, models["b"], 1)
    device = loads.devices["a"]
    device.block()
    running = asyncio.ensure_future(encode(many, models["a"], 5))
    await happened(device.entered)
    waiting = asyncio.ensure_future(encode(many, models["a"], 6))
    other = asyncio.ensure_future(many.describe(models["c"]))
    assert (await other).name == "c"
    resident = ready(many)
    device.gate.set()

    assert await running == expected(5)
    assert await waiting == expected(6)
    assert resident == {"a", "c"}, "b was used after a, but a was in use"


async def test_with_room_for_two_everybody_is_answered_and_the_budget_holds(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads, room=2)
    order = random.Random(3)
    most = 0

    async def ask(number: int) -> bool:
        nonlocal most
        await asyncio.sleep(order.random() / 20)
        name = order.choice("abcd")
        right = await encode(many, models[name], number) == expected(number)
        most = max(most, sum(state.bytes for state in many.states() if state.state == "ready"))
        return right

    assert all(await asyncio.gather(*(ask(number) for number in range(200))))
    assert most <= 2 * BYTES
    assert len(ready(many)) <= 2


async def test_a_caller_that_leaves_while_its_model_loads_disturbs_nobody(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads)
    loads.block()
    leaving = asyncio.ensure_future(encode(many, models["a"], 1))
    staying = asyncio.ensure_future(encode(many, models["a"], 2))
    await happened(loads.entered)
    leaving.cancel()
    await settle()
    loads.gate.set()

    assert await staying == expected(2)
    assert leaving.cancelled()


async def test_a_deadline_holds_while_a_model_loads(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads)
    loads.block()
    with pytest.raises(DeadlineExceeded):
        await many.encode(
            models["a"],
            TokenBatch.of([[1]]),
            priority=Priority.INTERACTIVE,
            deadline=time.monotonic() + 0.02,
        )
    loads.gate.set()

    assert await encode(many, models["a"], 1) == expected(1)


async def test_what_nobody_has_used_for_long_goes_unless_it_is_pinned(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads, idle_s=0.01)
    await many.pin([models["a"]])
    await encode(many, models["b"], 1)
    await many.unload_idle()
    before = ready(many)
    await asyncio.sleep(0.02)
    await many.unload_idle()

    assert before == {"a", "b"}
    assert ready(many) == {"a"}


async def test_a_load_that_fails_is_told_and_leaves_the_rest(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads)
    loads.faults["b"] = ModelDrift("b", "text", 0.1, 0.01)
    await encode(many, models["a"], 1)
    with pytest.raises(ModelDrift):
        await encode(many, models["b"], 1)
    told = {state.error for state in many.states() if state.state == "failed"}
    del loads.faults["b"]

    assert await encode(many, models["a"], 1) == expected(1)
    assert len(told) == 1
    assert "ModelDrift" in str(told)
    assert await encode(many, models["b"], 1) == expected(1), "it may work the next time"


async def test_a_model_whose_files_are_missing_is_refused_and_shown(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    many = encoders(monkeypatch, loads)
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError):
        await encode(many, ModelSettings(name=str(empty)), 1)

    assert [state.state for state in many.states()] == ["failed"]
    assert await encode(many, models["a"], 1) == expected(1)
