"""What an encoder process says of its models: how far each is, and what it has computed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from embedder.core.errors import ModelDrift
from embedder.settings.model import ModelSettings
from tests.unit.inference.fake_loads import Loads, encode, encoders, happened, write_models


@pytest.fixture
def models(tmp_path: Path) -> dict[str, ModelSettings]:
    """Return the settings of three models that can be opened."""
    return write_models(tmp_path, "abc")


async def test_each_loaded_model_counts_what_was_computed_with_it(
    models: dict[str, ModelSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, Loads())
    await encode(many, models["a"], 1, 2, 3)
    await encode(many, models["b"], 1)
    told = {one.model.key: one for one in many.stats()}
    a, b = (told[models[name].key] for name in "ab")

    assert a.batching is not None
    assert b.batching is not None
    assert (a.batching.items, a.batching.tokens, a.waiting) == (3, 3, 0)
    assert (b.batching.items, b.batching.batches) == (1, 1)
    assert a.model.state == b.model.state == "ready"


async def test_what_was_told_does_not_change_any_more(
    models: dict[str, ModelSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = encoders(monkeypatch, Loads())
    await encode(many, models["a"], 1)
    (told,) = many.stats()
    await encode(many, models["a"], 2)

    assert told.batching is not None
    assert told.batching.items == 1


async def test_a_model_that_is_not_loaded_has_computed_nothing(
    models: dict[str, ModelSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = Loads()
    many = encoders(monkeypatch, loads)
    loads.faults["b"] = ModelDrift("b", "text", 0.1, 0.01)
    with pytest.raises(ModelDrift):
        await encode(many, models["b"], 1)
    loads.block()
    loading = asyncio.ensure_future(encode(many, models["c"], 1))
    await happened(loads.entered)
    told = {one.model.key: one for one in many.stats()}
    loads.gate.set()
    await loading

    assert {key: one.model.state.value for key, one in told.items()} == {
        models["b"].key: "failed",
        models["c"].key: "loading",
    }
    assert {(one.waiting, one.batching) for one in told.values()} == {(0, None)}
