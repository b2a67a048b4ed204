"""Several pools of encoders as one stage: the choice of a pool, failures, and no replicas."""

from __future__ import annotations

import asyncio
import logging

import pytest

from deployments.encoder.pooled import START_S
from deployments.encoder.remote_pool import CHECK_S
from deployments.encoder.routing import PAUSE_S
from embedder.core.deadline import Deadline
from embedder.core.errors import (
    BackendFailure,
    DeadlineExceeded,
    InvalidInput,
    StageUnavailable,
)
from tests.unit.deployments.encoder.pool_handle import (
    AB,
    MODELS,
    SLOW,
    connected,
    two_handles,
)
from tests.unit.fake_model import settle

pytestmark = pytest.mark.usefixtures("virtual_time")


async def test_work_goes_to_the_pool_that_completes_it_first() -> None:
    cpu, gpu = two_handles()
    pools = await connected(cpu, gpu)
    vectors = [await pools.encode() for _ in range(5)]
    one_at_a_time = (cpu.encoded, gpu.encoded)
    gpu.stage.queued = 10_000_000
    await pools.encode()
    await pools.encode()

    assert vectors == [AB] * 5
    assert one_at_a_time == (0, 5)
    assert cpu.encoded == 1


async def test_an_empty_pool_gets_no_call_and_is_used_once_it_has_a_replica() -> None:
    cpu, gpu = two_handles(fast=0)
    pools = await connected(cpu, gpu)
    await pools.encode()
    before = list(gpu.calls), pools.states()
    gpu.run(1)
    await pools.encode()
    await asyncio.sleep(0.1)
    await pools.encode()

    assert before == ([], {"cpu": "ready", "gpu": "no replica"})
    assert (cpu.encoded, gpu.encoded) == (2, 1)
    assert pools.states() == {"cpu": "ready", "gpu": "ready"}


@pytest.mark.parametrize("error", [StageUnavailable("Encoder-gpu", "lost"), BackendFailure("oh")])
async def test_work_that_a_pool_fails_goes_to_another_and_the_pool_pauses(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    cpu, gpu = two_handles()
    pools = await connected(cpu, gpu)
    gpu.fault = error
    with caplog.at_level(logging.WARNING, "ray.serve"):
        vectors = [await pools.encode(), await pools.encode()]
    gpu.fault = None
    await asyncio.sleep(PAUSE_S)
    await pools.encode()

    assert vectors == [AB] * 2
    assert caplog.text.count("Encoder-gpu failed") == 1
    assert (cpu.encoded, gpu.encoded) == (2, 1)


@pytest.mark.parametrize("error", [StageUnavailable("Encoder", "lost"), BackendFailure("oh")])
async def test_the_error_of_the_last_pool_is_raised_if_all_fail(error: Exception) -> None:
    cpu, gpu = two_handles()
    pools = await connected(cpu, gpu)
    cpu.fault = gpu.fault = error

    with pytest.raises(type(error)):
        await pools.encode()
    assert pools.remote[0].stats.failures == pools.remote[1].stats.failures


async def test_work_of_a_lost_pool_waits_for_one_that_connects_and_a_failure_does_not() -> None:
    for error in (StageUnavailable("Encoder-gpu", "lost"), BackendFailure("poison")):
        cpu, gpu = two_handles(slow=0)
        cpu.stage.releases[MODELS.name] = loaded = asyncio.Event()
        pools = await connected(cpu, gpu)
        cpu.run(1)
        gpu.fault = error
        work = asyncio.create_task(pools.encode())
        await asyncio.sleep(5.0)
        ended = work.done()
        loaded.set()
        answers: list[object] = list(await asyncio.gather(work, return_exceptions=True))

        assert ended == isinstance(error, BackendFailure)
        assert answers == ([error] if ended else [AB])


async def test_an_input_that_no_pool_takes_is_refused_by_the_first() -> None:
    cpu, gpu = two_handles()
    pools = await connected(cpu, gpu)
    gpu.fault = InvalidInput("input", "is bad")

    with pytest.raises(InvalidInput):
        await pools.encode()
    assert (cpu.encoded, pools.remote[1].stats.failures) == (0, 0)


async def test_calls_and_waiting_work_of_a_pool_that_is_lost_go_to_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cpu, gpu = two_handles()
    pools = await connected(cpu, gpu)
    gpu.stage.hangs = True
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    work = [asyncio.create_task(pools.encode()) for _ in range(200)]
    await settle()
    gpu.run(0)
    vectors = await asyncio.gather(*work)

    assert vectors == [AB] * 200
    assert gpu.encoded == 0
    assert loop.time() - started_s < 2 * CHECK_S + 200 * 2 / SLOW
    assert pools.remote[1].stats.backlog_tokens == 0
    assert caplog.text.count("Encoder-gpu failed") == 1


async def test_a_pool_that_comes_back_is_described_again_and_used() -> None:
    cpu, gpu = two_handles()
    pools = await connected(cpu, gpu)
    gpu.run(0)
    await pools.encode()
    gpu.run(1)
    await pools.encode()
    await asyncio.sleep(0.1)
    await pools.encode()

    assert (cpu.encoded, gpu.encoded) == (2, 1)
    assert gpu.calls.count("describe") == 2


async def test_without_any_replica_work_waits_for_the_first_and_is_counted_as_waiting() -> None:
    cpu, gpu = two_handles()
    pools = await connected(cpu, gpu)
    for handle in (cpu, gpu):
        handle.run(0)
    work = [asyncio.create_task(pools.encode()) for _ in range(3)]
    await asyncio.sleep(5.0)
    waiting = [one.stats.waiting_tokens for one in pools.remote]
    asked = [handle.calls.count("describe") for handle in (cpu, gpu)]
    gpu.run(1)
    vectors = await asyncio.gather(*work)

    assert waiting == [6, 0]
    assert asked == [2, 2]  # at the start, and once for all work, so that Serve starts one
    assert vectors == [AB] * 3
    assert [one.stats.waiting_tokens for one in pools.remote] == [0, 0]


async def test_without_any_replica_work_fails_while_the_client_may_still_retry() -> None:
    cpu, gpu = two_handles()
    pools = await connected(cpu, gpu)
    for handle in (cpu, gpu):
        handle.run(0)

    started_s = asyncio.get_running_loop().time()
    with pytest.raises(StageUnavailable):
        await pools.encode(deadline=Deadline.after(60.0))
    assert asyncio.get_running_loop().time() - started_s == pytest.approx(START_S, abs=1.0)
    assert pools.remote[0].stats.backlog_tokens == 0


async def test_a_deadline_that_passes_in_a_pool_is_not_tried_in_another() -> None:
    cpu, gpu = two_handles()
    pools = await connected(cpu, gpu)
    gpu.stage.hangs = True

    with pytest.raises(DeadlineExceeded):
        await pools.encode(deadline=Deadline.after(3.0))
    assert cpu.encoded == 0


async def test_a_pool_that_hangs_loses_new_work_before_its_replicas_are_lost() -> None:
    cpu, gpu = two_handles()
    pools = await connected(cpu, gpu)
    gpu.stage.hangs = True
    hanging = asyncio.create_task(pools.encode())
    await asyncio.sleep(1.0)

    assert await pools.encode() == AB
    assert cpu.encoded == 1
    hanging.cancel()
