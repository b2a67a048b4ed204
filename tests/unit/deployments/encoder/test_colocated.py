"""What the ingress encodes itself, and what goes to the stage."""

from __future__ import annotations

import asyncio
import logging

import numpy as np
import pytest

from deployments.encoder.colocated import ColocatedEncoder, Share
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.batching.stages import BatchingEncoder
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
    """A near encoder over one device, and the stage over another."""

    def __init__(self, share: Share) -> None:
        self.here, self.there = Device(1.0), Device(2.0)
        self.near = ColocatedEncoder(self.there.encoder, lambda: self.here.encoder, share)

    async def encode(self) -> list[float]:
        encoded = await self.near.encode(TOKENS, priority=Priority.INTERACTIVE, deadline=None)
        return [float(one) for one in encoded.vectors[:, 0]]


@pytest.mark.parametrize(("share", "mark"), [("none", 2.0), ("idle", 1.0), ("all", 1.0)])
async def test_a_batch_that_finds_everything_idle_is_encoded_where_it_is_told(
    share: Share, mark: float
) -> None:
    pair = Pair(share)
    await pair.near.load()

    assert await pair.encode() == [mark, mark]


@pytest.mark.parametrize("busy", ["here", "there"])
@pytest.mark.parametrize(("share", "mark"), [("idle", 2.0), ("all", 1.0)])
async def test_beside_other_work_only_everything_stays_here(
    share: Share, mark: float, busy: str
) -> None:
    pair = Pair(share)
    await pair.near.load()
    device: Device = getattr(pair, busy)
    device.gate.clear()
    before = asyncio.ensure_future(
        device.encoder.encode(TOKENS, priority=Priority.INTERACTIVE, deadline=None)
    )
    await asyncio.sleep(0)
    asked = asyncio.ensure_future(pair.encode())
    await asyncio.sleep(0)
    device.gate.set()
    await before

    assert await asked == [mark, mark]


async def test_what_is_encoded_here_is_counted_here() -> None:
    pair = Pair("all")
    told = [pair.near.stats]
    await pair.near.load()
    for _ in range(2):
        await pair.encode()
        told.append(pair.near.stats)

    assert [stats and (stats.batches, stats.items, stats.tokens) for stats in told] == [
        None,
        (1, 2, 3),
        (2, 4, 6),
    ]


async def test_until_the_encoder_is_there_the_stage_does_it_all() -> None:
    pair = Pair("all")

    assert await pair.encode() == [2.0, 2.0]


@pytest.mark.parametrize("kind", [BackendFailure, RuntimeError])
async def test_what_fails_here_is_tried_there_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture, kind: type[Exception]
) -> None:
    pair = Pair("all")
    await pair.near.load()
    pair.here.error = kind("no such instruction")
    with caplog.at_level(logging.WARNING, "ray.serve"):
        found = await pair.encode()

    assert found == [2.0, 2.0]
    assert "no such instruction" in caplog.text


async def test_what_comes_too_late_is_not_tried_again() -> None:
    pair = Pair("all")
    await pair.near.load()
    pair.here.error = DeadlineExceeded("queue")

    with pytest.raises(DeadlineExceeded):
        await pair.encode()
    assert pair.there.batches == 0


async def test_an_encoder_that_cannot_be_loaded_is_done_without_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> BatchingEncoder:
        raise OSError("no such disk")

    stage = Device(2.0)
    near = ColocatedEncoder(stage.encoder, fail, "all")
    with caplog.at_level(logging.WARNING, "ray.serve"):
        await near.load()
    encoded = await near.encode(TOKENS, priority=Priority.BULK, deadline=None)

    assert encoded.vectors.tolist() == [[2.0], [2.0]]
    assert "no such disk" in caplog.text


async def test_nothing_is_loaded_where_nothing_may_be_done() -> None:
    def never() -> BatchingEncoder:
        raise AssertionError("loaded in vain")

    await ColocatedEncoder(Device(2.0).encoder, never, "none").load()
