"""One model in several pools: a pool with another model, or without it, gets no work."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from deployments.encoder.pool_model import RETRY_S
from deployments.encoder.pooled import PooledEncoder
from deployments.settings.service import ServeSettings
from embedder.core.deadline import Deadline
from embedder.core.errors import (
    ConfigurationError,
    ModelNotFound,
    StageUnavailable,
)
from embedder.core.outputs import OutputKind
from tests.unit.deployments.encoder.pool_handle import (
    AB,
    FAST,
    MODELS,
    SLOW,
    PoolHandle,
    Pools,
    PoolStage,
    connected,
    two_handles,
)

pytestmark = pytest.mark.usefixtures("virtual_time")


@pytest.mark.parametrize(
    ("fact", "other"),
    [
        *((name, "f" * 64) for name in ("digest", "config_digest", "tokenizer_digest", "pooling")),
        ("outputs", (OutputKind.SCORES,)),
        ("labels", ("relevance",)),
        ("activation", "sigmoid"),
    ],
)
async def test_a_pool_with_another_model_gets_no_work_and_the_log_says_why(
    fact: str, other: object, caplog: pytest.LogCaptureFixture
) -> None:
    cpu = PoolHandle(PoolStage(SLOW))
    gpu = PoolHandle(PoolStage(FAST, **{fact: other}), replicas=0)
    pools = await connected(cpu, gpu)
    gpu.run(1)
    with caplog.at_level(logging.ERROR, "ray.serve"):
        await pools.encode()
        await asyncio.sleep(RETRY_S / 2)
        await pools.encode()

    assert (cpu.encoded, gpu.encoded) == (2, 0)
    assert pools.states() == {"cpu": "ready", "gpu": "failed"}
    assert f"{fact} of" in caplog.text


async def test_pools_may_differ_in_device_backend_and_number_format() -> None:
    cpu = PoolHandle(PoolStage(SLOW))
    gpu = PoolHandle(PoolStage(FAST, device="cuda:0", dtype="bfloat16", max_batch_tokens=4096))
    pools = Pools(cpu=cpu, gpu=gpu)
    info = await pools.connect()
    await asyncio.sleep(0.1)
    await pools.encode()
    await asyncio.sleep(0.1)
    formats = {one.deployment: one.info and one.info.dtype for one in pools.encoder.states}

    assert info.dtype == "auto"
    assert formats == {"Encoder-cpu": "float32", "Encoder-gpu": "bfloat16"}


async def test_a_model_that_one_pool_cannot_load_is_served_by_the_other() -> None:
    cpu, gpu = two_handles()
    cpu.stage.missing.add(MODELS.name)
    pools = Pools(cpu=cpu, gpu=gpu)
    await pools.connect()

    assert await pools.encode() == AB
    assert pools.states() == {"cpu": "failed", "gpu": "ready"}


async def test_a_model_that_no_pool_can_load_fails_with_the_error_of_the_first() -> None:
    cpu, gpu = two_handles()
    for handle in (cpu, gpu):
        handle.stage.missing.add(MODELS.name)

    with pytest.raises(ModelNotFound):
        await Pools(cpu=cpu, gpu=gpu).connect()


async def test_a_model_that_is_loaded_when_a_pool_starts_waits_for_it() -> None:
    cpu, gpu = two_handles(slow=0, fast=0)
    pools = Pools(cpu=cpu, gpu=gpu)
    connecting = asyncio.create_task(pools.connect())
    await asyncio.sleep(30.0)
    gpu.run(1)
    await connecting

    assert await pools.encode() == AB
    assert pools.states() == {"cpu": "no replica", "gpu": "ready"}


async def test_a_pool_has_only_the_models_that_it_names() -> None:
    cpu, gpu = two_handles()
    named: list[dict[str, Any]] = [{"name": "cpu"}, {"name": "gpu", "models": ["other"]}]
    pools = Pools(pools=named, cpu=cpu, gpu=gpu)
    await pools.connect()
    await pools.encode()

    assert pools.encoder.alone
    assert (cpu.encoded, gpu.calls) == (1, [])
    with pytest.raises(ConfigurationError, match=r"no pool of encoder\.pools has the model"):
        PooledEncoder(pools.remote[1:], ServeSettings(), MODELS)


async def test_work_of_the_only_pool_waits_for_its_replica_as_serve_has_it() -> None:
    cpu, _ = two_handles()
    pools = Pools(cpu=cpu)
    await pools.connect()
    cpu.run(0)
    work = asyncio.create_task(pools.encode())
    await asyncio.sleep(10.0)
    cpu.run(1)
    answered = await work
    cpu.run(0)

    assert answered == AB
    with pytest.raises(StageUnavailable):
        await pools.encode(deadline=Deadline.after(3.0))
