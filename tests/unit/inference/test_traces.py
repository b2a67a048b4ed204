"""The span of a batch on a device of this process."""

from __future__ import annotations

import asyncio

from embedder.core.deadline import NEVER
from embedder.core.tracing import Traced, serving
from embedder.core.types import Encoded, Priority, TokenBatch
from embedder.inference.device_thread import device_thread
from embedder.inference.local import LocalEncoder
from embedder.settings.model import BatchSettings
from tests.unit.fake_device import INFO, Device, loaded
from tests.unit.traces import Traces, context_of, links_of


async def test_a_batch_is_described_and_returned_to_each_of_its_requests(device: Device) -> None:
    traces = Traces()
    requests = [traces.request(), None, traces.request()]
    encoder = LocalEncoder(loaded(device, INFO), BatchSettings(), device_thread())

    async def encode(request: Traced | None, *row: int) -> Encoded:
        with serving(request):
            return await encoder.encode(
                TokenBatch.of([row]), priority=Priority.INTERACTIVE, deadline=NEVER
            )

    answers = await asyncio.gather(
        encode(requests[0], 1, 2), encode(None, 3), encode(requests[2], 4, 5, 6)
    )
    encoder.close()
    (batch,) = traces.named("batch")
    assert batch.attributes is not None

    assert len(device.batches) == 1
    assert [answer.batches for answer in answers] == [(context_of(batch),)] * 3
    assert links_of(batch) == [request.contexts[0] for request in requests if request]
    assert {name: batch.attributes[name] for name in ("model", "texts", "tokens")} == {
        "model": INFO.name,
        "texts": 3,
        "tokens": 6,
    }
    assert 0 <= float(str(batch.attributes["wait_for_device_s"])) < 60
    assert 0 <= float(str(batch.attributes["inference_s"])) < 60
    assert traces.names == ["queue", "queue", "batch"]


async def test_a_batch_of_untraced_requests_has_no_span(device: Device) -> None:
    encoder = LocalEncoder(loaded(device, INFO), BatchSettings(), device_thread())
    answer = await encoder.encode(
        TokenBatch.of([[1]]), priority=Priority.INTERACTIVE, deadline=NEVER
    )
    encoder.close()

    assert answer.batches == ()
