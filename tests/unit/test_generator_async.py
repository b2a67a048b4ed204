"""A generator called from coroutines, also many at once and cancelled."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from embedder import EmbeddingGenerator, EmbedOptions
from embedder.core.errors import BackendFailure, DeadlineExceeded, InvalidInput, Unavailable
from embedder.core.types import Vectors
from tests.unit.fake_device import POISON, Device, settled, vectors_of, word
from tests.unit.fake_model import settle
from tests.unit.waiting import LONG_S

WORDS = [word(number) for number in range(200)]


async def blocked_call(
    generator: EmbeddingGenerator, device: Device, text: str
) -> asyncio.Task[Vectors]:
    """Start a call, and return it while the device is blocked in its batch."""
    device.block()
    call = asyncio.create_task(generator.aembed(text))
    assert await asyncio.to_thread(device.entered.wait, LONG_S)
    return call


async def test_a_coroutine_gets_the_same_vectors_as_a_thread(generator: EmbeddingGenerator) -> None:
    options = EmbedOptions(prompt="x ", dimensions=3)

    assert np.array_equal(await generator.aembed(WORDS), vectors_of(WORDS))
    assert np.array_equal(await generator.aembed("abc"), vectors_of(["abc"]))
    assert np.array_equal(await generator.aembed(WORDS, options), generator.embed(WORDS, options))


async def test_concurrent_calls_share_batches_and_get_their_own_vectors(
    generator: EmbeddingGenerator, device: Device
) -> None:
    first = await blocked_call(generator, device, "first")
    calls = [asyncio.ensure_future(generator.aembed(text)) for text in WORDS]
    await settle()
    settled(generator)
    device.gate.set()
    answers = await asyncio.gather(*calls)

    assert np.array_equal(np.concatenate(answers), vectors_of(WORDS))
    assert np.array_equal(await first, vectors_of(["first"]))
    assert len(device.batches) < len(WORDS) / 4


def test_several_event_loops_can_share_a_generator(generator: EmbeddingGenerator) -> None:
    for text in WORDS[:3]:
        assert np.array_equal(asyncio.run(generator.aembed(text)), vectors_of([text]))


async def test_the_event_loop_of_the_caller_is_not_blocked(
    generator: EmbeddingGenerator, device: Device
) -> None:
    call = await blocked_call(generator, device, "abc")
    await settle()
    done_while_blocked = call.done()
    device.gate.set()

    assert not done_while_blocked
    assert np.array_equal(await call, vectors_of(["abc"]))


async def test_a_cancelled_call_is_not_computed_and_others_are(
    generator: EmbeddingGenerator, device: Device
) -> None:
    running = await blocked_call(generator, device, "running")
    cancelled = asyncio.ensure_future(generator.aembed(WORDS))
    other = asyncio.ensure_future(generator.aembed(["other", "else"]))
    await settle()
    settled(generator)
    cancelled.cancel()
    await settle()
    settled(generator)
    device.gate.set()

    assert np.array_equal(await other, vectors_of(["other", "else"]))
    assert np.array_equal(await running, vectors_of(["running"]))
    assert cancelled.cancelled()
    assert len(device.rows) == 3
    assert generator.stats().waiting == 0


async def test_a_timeout_of_the_caller_cancels_the_work(
    generator: EmbeddingGenerator, device: Device
) -> None:
    running = await blocked_call(generator, device, "running")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(generator.aembed(WORDS), 0.01)
    settled(generator)
    device.gate.set()
    await running
    await generator.aembed("afterwards")

    assert len(device.rows) == 2


async def test_a_timeout_in_the_options_raises_deadline_exceeded(
    generator: EmbeddingGenerator, device: Device
) -> None:
    device.block()
    with pytest.raises(DeadlineExceeded):
        await generator.aembed("abc", EmbedOptions(timeout_s=0.01))


async def test_errors_of_embed_are_raised(generator: EmbeddingGenerator) -> None:
    with pytest.raises(InvalidInput, match=r"input\[1\]"):
        await generator.aembed(["abc", ""])
    with pytest.raises(BackendFailure):
        await generator.aembed(["abc", POISON])

    assert np.array_equal(await generator.aembed("abc"), vectors_of(["abc"]))


async def test_closing_raises_an_error_in_waiting_coroutines_and_cancels_none(
    generator: EmbeddingGenerator, device: Device
) -> None:
    running = await blocked_call(generator, device, WORDS[0])
    calls = [running, *(asyncio.create_task(generator.aembed(text)) for text in WORDS[1:5])]
    await settle()
    await asyncio.to_thread(generator.close)
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(result) for result in results] == [Unavailable] * 5
    with pytest.raises(Unavailable):
        await generator.aembed("abc")
