"""The health of an encoder pool: idleness, finished batches and a probe."""

from __future__ import annotations

import asyncio

import pytest

from embedder.core.errors import BackendFailure, Unavailable
from embedder.inference.encoder_pool import EncoderPool
from embedder.settings.model import ModelSettings
from tests.unit.fake_model import settle
from tests.unit.inference.fake_loads import (
    FakeLoads,
    encode,
    encoder_pool,
    ready,
    wait_for_event,
)

Models = dict[str, ModelSettings]


async def test_idle_and_batches_cover_all_models(
    models: Models, loads: FakeLoads, pool: EncoderPool
) -> None:
    nothing = pool.idle, pool.batches
    await encode(pool, models["a"], 1)
    await encode(pool, models["b"], 1)
    await settle()
    done = pool.idle, pool.batches
    device = loads.devices["b"]
    device.block()
    call = asyncio.ensure_future(encode(pool, models["b"], 1))
    await wait_for_event(device.entered)
    busy = pool.idle, pool.batches
    device.gate.set()
    await call
    await settle()

    assert (nothing, done, busy) == ((True, 0), (True, 2), (False, 2))
    assert (pool.idle, pool.batches) == (True, 3)


async def test_failed_batches_count_as_finished(
    models: Models, loads: FakeLoads, monkeypatch: pytest.MonkeyPatch, pool: EncoderPool
) -> None:
    await pool.describe(models["a"])
    monkeypatch.setattr(loads.devices["a"], "capacity", 0)
    with pytest.raises(BackendFailure):
        await encode(pool, models["a"], 1)
    await settle()

    assert (pool.idle, pool.batches) == (True, 1)


async def test_a_probe_computes_with_a_loaded_model(
    models: Models, loads: FakeLoads, monkeypatch: pytest.MonkeyPatch, pool: EncoderPool
) -> None:
    await pool.probe()
    await pool.describe(models["a"])
    await pool.probe()
    broken = loads.devices["a"]
    monkeypatch.setattr(broken, "capacity", 0)

    assert broken.rows == [[0]]
    with pytest.raises(BackendFailure):
        await pool.probe()


async def test_a_probe_does_not_prevent_eviction(
    models: Models, loads: FakeLoads, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = encoder_pool(monkeypatch, loads, room=1)
    await pool.describe(models["a"])
    device = loads.devices["a"]
    device.block()
    probe = asyncio.ensure_future(pool.probe())
    await wait_for_event(device.entered)
    name = (await pool.describe(models["b"])).name
    device.gate.set()
    await probe

    assert name == "b"
    assert ready(pool) == {"b"}


async def test_a_probe_fails_if_the_encoder_was_closed(models: Models, pool: EncoderPool) -> None:
    await pool.describe(models["a"])
    for encoder in pool.loaded.values():
        encoder.close()

    with pytest.raises(Unavailable):
        await pool.probe()
