"""Whether several encoders are well: idleness, batches that ended, and a probe."""

from __future__ import annotations

import asyncio

import pytest

from embedder.core.errors import BackendFailure, Unavailable
from embedder.settings.model import ModelSettings
from tests.unit.fake_model import settle
from tests.unit.inference.fake_loads import (
    Loads,
    encode,
    encoders,
    happened,
    ready,
)

Models = dict[str, ModelSettings]


async def test_idleness_and_batches_are_those_of_all_models(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads)
    nothing = many.idle, many.batches
    await encode(many, models["a"], 1)
    await encode(many, models["b"], 1)
    await settle()
    done = many.idle, many.batches
    device = loads.devices["b"]
    device.block()
    call = asyncio.ensure_future(encode(many, models["b"], 1))
    await happened(device.entered)
    busy = many.idle, many.batches
    device.gate.set()
    await call
    await settle()

    assert (nothing, done, busy) == ((True, 0), (True, 2), (False, 2))
    assert (many.idle, many.batches) == (True, 3)


async def test_a_batch_that_failed_has_ended_too(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads)
    await many.describe(models["a"])
    monkeypatch.setattr(loads.devices["a"], "capacity", 0)
    with pytest.raises(BackendFailure):
        await encode(many, models["a"], 1)
    await settle()

    assert (many.idle, many.batches) == (True, 1)


async def test_a_probe_computes_with_whatever_is_loaded(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads)
    await many.probe()
    await many.describe(models["a"])
    await many.probe()
    broken = loads.devices["a"]
    monkeypatch.setattr(broken, "capacity", 0)

    assert broken.rows == [[0]]
    with pytest.raises(BackendFailure):
        await many.probe()


async def test_a_probe_does_not_keep_its_model_from_making_room(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads, room=1)
    await many.describe(models["a"])
    device = loads.devices["a"]
    device.block()
    probe = asyncio.ensure_future(many.probe())
    await happened(device.entered)
    name = (await many.describe(models["b"])).name
    device.gate.set()
    await probe

    assert name == "b"
    assert ready(many) == {"b"}


async def test_a_probe_tells_when_the_encoder_has_been_closed_for_another_reason(
    models: Models, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, loads)
    await many.describe(models["a"])
    for encoder in many._loaded.values():
        encoder.close()

    with pytest.raises(Unavailable):
        await many.probe()
