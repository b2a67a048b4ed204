"""Unloaded models and failed loads are freed at once, without the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from embedder.inference.pool import ModelPool
from tests.unit.inference.fake_pool import Model, settle


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Leave it to the counts of references alone to free anything."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
async def test_the_pool_keeps_no_reference_to_an_unloaded_model() -> None:
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
async def test_the_pool_keeps_no_reference_to_a_failed_load() -> None:
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
                return "using"
        except OSError as error:
            return str(error)

    told = await asyncio.gather(user(), user())

    assert {*told} == {"the other half is missing"}
    assert [watch() for watch in watches] == [None]
