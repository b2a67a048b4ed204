"""A generator called from coroutines: many at once, and being cancelled."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from embedder import EmbeddingGenerator, EmbedOptions
from embedder.core.errors import BackendFailure, DeadlineExceeded, InvalidInput, Unavailable
from tests.unit.fake_device import POISON, Device, settled, vectors_of, word
from tests.unit.fake_model import settle

WORDS = [word(number) for number in range(200)]


async def entered(device: Device) -> None:
    """Wait until the device has begun to compute, and leave the loop free meanwhile."""
    assert await asyncio.to_thread(device.entered.wait, 5)


async def test_a_coroutine_gets_what_a_thread_gets(generator: EmbeddingGenerator) -> None:
    options = EmbedOptions(prompt="x ", dimensions=3)

    assert np.array_equal(await generator.aembed(WORDS), vectors_of(WORDS))
    assert np.array_equal(await generator.aembed("abc"), vectors_of(["abc"]))
    assert np.array_equal(await generator.aembed(WORDS, options), generator.embed(WORDS, options))


async def test_many_calls_at_once_share_batches_and_have_their_own_answers(
    generator: EmbeddingGenerator, device: Device
) -> None:
    device.block()
    first = asyncio.ensure_future(generator.aembed("first"))
    await entered(device)
    calls = [asyncio.ensure_future(generator.aembed(text)) for text in WORDS]
    await settle()
    settled(generator)
    device.gate.set()
    answers = await asyncio.gather(*calls)

    assert np.array_equal(np.concatenate(answers), vectors_of(WORDS))
    assert np.array_equal(await first, vectors_of(["first"]))
    assert len(device.batches) < len(WORDS) / 4


def test_several_event_loops_may_share_a_generator(generator: EmbeddingGenerator) -> None:
    for text in WORDS[:3]:
        assert np.array_equal(asyncio.run(generator.aembed(text)), vectors_of([text]))


async def test_the_callers_loop_stays_free_while_the_device_computes(
    generator: EmbeddingGenerator, device: Device
) -> None:
    device.block()
    call = asyncio.ensure_future(generator.aembed("abc"))
    await entered(device)
    await settle()
    done_while_blocked = call.done()
    device.gate.set()

    assert not done_while_blocked
    assert np.array_equal(await call, vectors_of(["abc"]))


async def test_a_cancelled_call_computes_nothing_more_and_harms_nobody(
    generator: EmbeddingGenerator, device: Device
) -> None:
    device.block()
    running = asyncio.ensure_future(generator.aembed("running"))
    await entered(device)
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


async def test_a_time_out_of_the_caller_cancels_as_well(
    generator: EmbeddingGenerator, device: Device
) -> None:
    device.block()
    running = asyncio.ensure_future(generator.aembed("running"))
    await entered(device)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(generator.aembed(WORDS), 0.01)
    settled(generator)
    device.gate.set()
    await running
    await generator.aembed("afterwards")

    assert len(device.rows) == 2


async def test_a_time_out_in_the_options_is_an_error_of_the_library(
    generator: EmbeddingGenerator, device: Device
) -> None:
    device.block()
    with pytest.raises(DeadlineExceeded):
        await generator.aembed("abc", EmbedOptions(timeout_s=0.01))


async def test_the_errors_of_embed_come_through(generator: EmbeddingGenerator) -> None:
    with pytest.raises(InvalidInput, match=r"input\[1\]"):
        await generator.aembed(["abc", ""])
    with pytest.raises(BackendFailure):
        await generator.aembed(["abc", POISON])

    assert np.array_equal(await generator.aembed("abc"), vectors_of(["abc"]))


async def test_closing_answers_a_waiting_coroutine_with_an_error_and_cancels_nobody(
    generator: EmbeddingGenerator, device: Device
) -> None:
    device.block()
    calls = [asyncio.ensure_future(generator.aembed(text)) for text in WORDS[:5]]
    await entered(device)
    await asyncio.to_thread(generator.close)
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(result) for result in results] == [Unavailable] * 5
    with pytest.raises(Unavailable):
        await generator.aembed("abc")
