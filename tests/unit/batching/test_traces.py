"""A batch works for the traced requests in it, and their waits are recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.core.errors import BackendFailure
from embedder.core.tracing import SpanContext, Traced, current_contexts, serving, step
from tests.unit.batching.manual_device import ROOMY, ManualDevice, run_until_idle, start
from tests.unit.manual_clock import ManualClock
from tests.unit.traces import Traces, context_of, links_of, parent_of, seconds_of


class TracedDevice(ManualDevice):
    """Records a step for each batch, and keeps the spans that it works for."""

    def __init__(self) -> None:
        super().__init__()
        self.served: list[tuple[SpanContext, ...]] = []

    async def run(self, items: list[int], context: BatchContext) -> Sequence[int]:
        self.served.append(current_contexts())
        with step("batch"):
            return await super().run(items, context)


def started_for(
    request: Traced | None, batcher: Batcher[int, int], items: Sequence[int]
) -> asyncio.Task[list[int]]:
    """Submit items for a request."""
    with serving(request):
        return start(batcher, items)


async def test_a_batch_of_several_requests_is_one_span_with_links_to_each() -> None:
    traces, device = Traces(), TracedDevice()
    batcher = Batcher(device.run, budget=ROOMY)
    one, two = traces.request(), traces.request()
    tasks = [started_for(request, batcher, [1, 2]) for request in (one, None, two)]
    await run_until_idle()
    await device.end(0)
    await asyncio.gather(*tasks)
    (batch,) = traces.named("batch")

    assert device.batches == [[1, 2, 1, 2, 1, 2]]
    assert device.served == [(*one.contexts, *two.contexts)]
    assert [parent_of(batch)] == list(one.contexts)
    assert links_of(batch) == [*one.contexts, *two.contexts]


async def test_a_batch_after_a_traced_one_does_not_work_for_its_requests() -> None:
    """The task of a batch starts in the context of any request that came before."""
    traces, device = Traces(), TracedDevice()
    batcher = Batcher(device.run, budget=ROOMY)
    first = started_for(traces.request(), batcher, [1])
    await run_until_idle()
    second = started_for(None, batcher, [2])
    await run_until_idle()
    await device.end(0)
    await device.end(1)
    await asyncio.gather(first, second)

    assert device.served[1] == ()
    assert len(traces.named("batch")) == 1


async def test_a_wait_is_recorded_once_for_each_request_until_its_first_batch() -> None:
    traces, device, clock = Traces(), TracedDevice(), ManualClock(100.0)
    batcher = Batcher(device.run, budget=Budget(max_tokens=2), clock=clock)
    one, two = traces.request(), traces.request()
    tasks = [started_for(one, batcher, [1, 2]), started_for(two, batcher, [3, 4, 5, 6])]
    await run_until_idle()
    for number in range(3):
        clock.now += 5
        await device.end(number)
    await asyncio.gather(*tasks)
    waits = traces.named("queue")

    assert device.batches == [[1, 2], [3, 4], [5, 6]]
    assert [parent_of(wait) for wait in waits] == [*one.contexts, *two.contexts]
    assert [seconds_of(wait) for wait in waits] == pytest.approx([0, 5], abs=0.5)


async def test_each_half_of_a_failed_batch_works_for_its_own_requests() -> None:
    traces = Traces()
    served: list[tuple[SpanContext, ...]] = []

    async def run(items: list[int], context: BatchContext) -> Sequence[int]:
        served.append(current_contexts())
        if 13 in items:
            raise BackendFailure("13")
        return items

    batcher = Batcher(run, budget=ROOMY)
    one, two = traces.request(), traces.request()
    tasks = [started_for(one, batcher, [1]), started_for(two, batcher, [13])]
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert results[0] == [1]
    assert isinstance(results[1], BackendFailure)
    assert served == [(*one.contexts, *two.contexts), one.contexts, two.contexts]
    assert len(traces.named("queue")) == 2


async def test_a_step_of_a_request_is_the_parent_of_its_wait() -> None:
    traces, device = Traces(), TracedDevice()
    batcher = Batcher(device.run, budget=ROOMY)
    with serving(traces.request()), step("encode"):
        task = start(batcher, [1])
        await run_until_idle()
        await device.end(0)
        await task
    queue, batch, encode = traces.ended

    assert [queue.name, batch.name] == ["queue", "batch"]
    assert parent_of(queue) == parent_of(batch) == context_of(encode)
