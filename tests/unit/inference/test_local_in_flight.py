"""A device may have several batches in flight, and every caller gets its own vectors."""

from __future__ import annotations

import asyncio
import threading

import pytest

from embedder.core.errors import BackendFailure, Unavailable
from embedder.core.types import TokenBatch, Vectors
from embedder.inference.device_thread import device_thread
from embedder.inference.local import LocalEncoder
from embedder.settings.model import BatchSettings
from tests.unit.fake_device import POISON, Device, ids, loaded
from tests.unit.inference.test_local import encode, expected
from tests.unit.waiting import LONG_S, eventually


class TwoAtOnce(Device):
    """A device that computes only while two batches are in flight."""

    max_concurrency = 2

    def __init__(self) -> None:
        super().__init__()
        self.meeting = threading.Barrier(2, timeout=LONG_S)

    def encode(self, tokens: TokenBatch) -> Vectors:
        """Wait until another batch is in flight."""
        self.meeting.wait()
        return super().encode(tokens)


async def test_a_device_may_have_two_batches_in_flight() -> None:
    device = TwoAtOnce()
    settings = BatchSettings(max_items=1)
    with device_thread() as thread:
        encoder = LocalEncoder(loaded(device), settings, thread)
        answers = await asyncio.gather(*(encode(encoder, [number]) for number in range(8)))

    assert answers == [expected([number]) for number in range(8)]
    assert len(device.threads) == 2
    assert all(name.startswith("in-flight") for name in device.threads)
    encoder.close()


async def test_no_batch_in_flight_is_lost_when_another_fails() -> None:
    encoder = LocalEncoder(loaded(TwoAtOnce()), BatchSettings(max_items=1), device_thread())
    results = await asyncio.gather(
        encode(encoder, ids(POISON)), encode(encoder, [1]), return_exceptions=True
    )

    assert isinstance(results[0], BackendFailure)
    assert results[1] == expected([1])
    encoder.close()


async def test_threads_for_batches_in_flight_end_with_their_encoder() -> None:
    device = TwoAtOnce()
    encoder = LocalEncoder(loaded(device), BatchSettings(max_items=1), device_thread())
    await asyncio.gather(encode(encoder, [1]), encode(encoder, [2]))
    names = set(device.threads)

    encoder.close()

    def ended() -> bool:
        return names.isdisjoint(thread.name for thread in threading.enumerate())

    assert await asyncio.to_thread(eventually, ended)
    with pytest.raises(Unavailable):
        await encode(encoder, [3])
