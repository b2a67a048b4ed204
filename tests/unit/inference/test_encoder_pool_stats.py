"""The statistics of an encoder pool: the state of each model and its counters."""

from __future__ import annotations

import asyncio

import pytest

from embedder.batching.tuning import Measurement, Tuning
from embedder.core.errors import ModelDrift
from embedder.core.types import ReplicaLoad
from embedder.inference.encoder_pool import EncoderPool
from embedder.settings.model import ModelSettings
from tests.unit.inference.fake_loads import FakeLoads, encode, wait_for_event

Models = dict[str, ModelSettings]


async def test_each_loaded_model_counts_what_was_computed_with_it(
    models: Models, pool: EncoderPool
) -> None:
    await encode(pool, models["a"], 1, 2, 3)
    await encode(pool, models["b"], 1)
    stats = {one.model.key: one for one in pool.stats()}
    a, b = (stats[models[name].key] for name in "ab")

    assert a.batching is not None
    assert b.batching is not None
    assert (a.batching.items, a.batching.tokens, a.waiting) == (3, 3, 0)
    assert (b.batching.items, b.batching.batches) == (1, 1)
    assert a.model.state == b.model.state == "ready"


async def test_stats_are_copies(models: Models, pool: EncoderPool) -> None:
    await encode(pool, models["a"], 1)
    (stats,) = pool.stats()
    await encode(pool, models["a"], 2)

    assert stats.batching is not None
    assert stats.batching.items == 1


async def test_a_model_that_is_not_loaded_has_computed_nothing(
    models: Models, loads: FakeLoads, pool: EncoderPool
) -> None:
    loads.faults["b"] = ModelDrift("b", "text", 0.1, 0.01)
    with pytest.raises(ModelDrift):
        await encode(pool, models["b"], 1)
    loads.block()
    loading = asyncio.ensure_future(encode(pool, models["c"], 1))
    await wait_for_event(loads.entered)
    stats = {one.model.key: one for one in pool.stats()}
    loads.gate.set()
    await loading

    assert {key: one.model.state.value for key, one in stats.items()} == {
        models["b"].key: "failed",
        models["c"].key: "loading",
    }
    assert {(one.waiting, one.batching) for one in stats.values()} == {(0, None)}


async def test_the_load_has_the_rate_of_the_tuning_until_enough_is_computed(
    models: Models, loads: FakeLoads, pool: EncoderPool
) -> None:
    loads.tuning = Tuning(64, (Measurement(32, 1.0), Measurement(64, 0.5)), "measured")
    unknown = pool.replica_load("r", models["a"])
    await encode(pool, models["a"], 1)
    tuned = pool.replica_load("r", models["a"])
    await encode(pool, models["a"], *range(300))
    measured = pool.replica_load("r", models["a"])

    assert unknown == ReplicaLoad("r", 0, 0.0)
    assert tuned == ReplicaLoad("r", 0, 128.0)
    assert measured.tokens_per_s not in (0.0, 128.0)
