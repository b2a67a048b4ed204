"""Which batches the ingress encodes, and which go to the stage."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
import pytest

from deployments.encoder.colocated import ColocatedEncoder
from deployments.settings.placement import Placement
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.batching.stages import BatchingEncoder
from embedder.core.deadline import NEVER
from embedder.core.errors import BackendFailure, DeadlineExceeded
from embedder.core.types import Encoded, Priority, TokenBatch

TOKENS = TokenBatch.of([[1, 2], [3]])


class Device:
    """Encodes every row as its own mark, once it may; counts its batches."""

    def __init__(self, mark: float) -> None:
        self.mark = mark
        self.batches = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.encoder = BatchingEncoder(self._run, budget=Budget(100))

    async def _run(self, tokens: TokenBatch, context: BatchContext) -> Encoded:
        self.batches += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Encoded(np.full((len(tokens.lengths), 1), self.mark, np.float32), 0.0, 0.0)


class Pair:
    """A colocated encoder over one device, and the stage over another."""

    def __init__(self, placement: Placement) -> None:
        self.local, self.stage = Device(1.0), Device(2.0)
        self.encoder = ColocatedEncoder(self.stage.encoder, lambda: self.local.encoder, placement)

    async def encode(self) -> list[float]:
        encoded = await self.encoder.encode(TOKENS, priority=Priority.INTERACTIVE, deadline=NEVER)
        return [float(one) for one in encoded.vectors[:, 0]]


@pytest.mark.parametrize(
    ("placement", "mark"), [("remote", 2.0), ("auto", 1.0), ("colocated", 1.0)]
)
async def test_an_idle_process_encodes_according_to_its_placement(
    placement: Placement, mark: float
) -> None:
    pair = Pair(placement)
    await pair.encoder.load()

    assert await pair.encode() == [mark, mark]


@pytest.mark.parametrize("busy", ["local", "stage"])
@pytest.mark.parametrize(("placement", "mark"), [("auto", 2.0), ("colocated", 1.0)])
async def test_a_busy_process_encodes_only_if_the_encoder_is_colocated(
    placement: Placement, mark: float, busy: str
) -> None:
    pair = Pair(placement)
    await pair.encoder.load()
    device: Device = getattr(pair, busy)
    device.gate.clear()
    before = asyncio.ensure_future(
        device.encoder.encode(TOKENS, priority=Priority.INTERACTIVE, deadline=NEVER)
    )
    await asyncio.sleep(0)
    asked = asyncio.ensure_future(pair.encode())
    await asyncio.sleep(0)
    device.gate.set()
    await before

    assert await asked == [mark, mark]


async def test_stats_count_the_batches_of_this_process() -> None:
    pair = Pair("colocated")
    snapshots = [pair.encoder.stats]
    await pair.encoder.load()
    for _ in range(2):
        await pair.encode()
        snapshots.append(pair.encoder.stats)

    assert [stats and (stats.batches, stats.items, stats.tokens) for stats in snapshots] == [
        None,
        (1, 2, 3),
        (2, 4, 6),
    ]


async def test_all_batches_go_to_the_stage_until_the_encoder_is_loaded() -> None:
    pair = Pair("colocated")

    assert await pair.encode() == [2.0, 2.0]


@pytest.mark.parametrize("kind", [BackendFailure, RuntimeError])
async def test_a_batch_that_fails_here_goes_to_the_stage_with_a_warning(
    caplog: pytest.LogCaptureFixture, kind: type[Exception]
) -> None:
    pair = Pair("colocated")
    await pair.encoder.load()
    pair.local.error = kind("no such instruction")
    with caplog.at_level(logging.WARNING, "ray.serve"):
        found = await pair.encode()

    assert found == [2.0, 2.0]
    assert "no such instruction" in caplog.text


async def test_a_batch_after_its_deadline_is_not_repeated() -> None:
    pair = Pair("colocated")
    await pair.encoder.load()
    pair.local.error = DeadlineExceeded("queue")

    with pytest.raises(DeadlineExceeded):
        await pair.encode()
    assert pair.stage.batches == 0


async def test_without_an_encoder_all_batches_go_to_the_stage_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> BatchingEncoder:
        raise OSError("no such disk")

    stage = Device(2.0)
    encoder = ColocatedEncoder(stage.encoder, fail, "colocated")
    with caplog.at_level(logging.WARNING, "ray.serve"):
        await encoder.load()
    encoded = await encoder.encode(TOKENS, priority=Priority.BULK, deadline=NEVER)

    assert encoded.vectors.tolist() == [[2.0], [2.0]]
    assert "no such disk" in caplog.text


async def test_nothing_is_loaded_if_all_work_goes_to_the_stage() -> None:
    def never() -> BatchingEncoder:
        raise AssertionError("loaded in vain")

    await ColocatedEncoder(Device(2.0).encoder, never, "remote").load()
