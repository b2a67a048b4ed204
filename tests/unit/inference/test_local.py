"""The encoder in this process, with a device whose faults a test chooses."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest

from embedder.batching.tuning import Tuning
from embedder.core.deadline import NEVER
from embedder.core.errors import BackendFailure, Unavailable
from embedder.core.types import ModelInfo, Priority, TokenBatch, Vectors
from embedder.inference.device_thread import LOW_PRIORITY_NICENESS, device_thread
from embedder.inference.local import LocalEncoder
from embedder.settings.model import BatchSettings
from tests.unit.fake_device import INFO, POISON, Device, ids, loaded, vectors_of_ids
from tests.unit.fake_model import settle
from tests.unit.waiting import LONG_S, eventually


def local(
    device: Device, settings: BatchSettings | None = None, info: ModelInfo = INFO
) -> LocalEncoder:
    """Return an encoder with a thread of its own."""
    return LocalEncoder(loaded(device, info), settings or BatchSettings(), device_thread())


async def encode(encoder: LocalEncoder, *rows: list[int]) -> list[list[float]]:
    """Encode rows of ids as an interactive caller would."""
    encoded = await encoder.encode(
        TokenBatch.of(rows), priority=Priority.INTERACTIVE, deadline=NEVER
    )
    answer: list[list[float]] = encoded.vectors.tolist()
    return answer


def expected(*rows: list[int]) -> list[list[float]]:
    """Return the vectors that the device computes for rows of ids."""
    answer: list[list[float]] = vectors_of_ids(rows).tolist()
    return answer


def test_batches_are_what_the_model_and_the_settings_say(device: Device) -> None:
    settings = BatchSettings(max_items=5, bulk_delay_s=3.0)
    budget = local(device, settings, replace(INFO, max_batch_tokens=77)).batcher.budget

    assert (budget.max_tokens, budget.max_items, budget.bulk_delay_s) == (77, 5, 3.0)
    assert budget.padded is device.padded


def test_an_encoder_shows_what_was_loaded(device: Device) -> None:
    tuning = Tuning(64, (), "measured")
    encoder = LocalEncoder(loaded(device, INFO, tuning), BatchSettings(), device_thread())

    assert encoder.model is INFO
    assert encoder.tuning is tuning


async def test_encoding_leaves_the_loop_free_and_keeps_to_one_thread(device: Device) -> None:
    encoder = local(device)
    device.block()
    first = asyncio.create_task(encode(encoder, [1, 2]))
    await asyncio.to_thread(device.entered.wait, LONG_S)
    others = [asyncio.create_task(encode(encoder, [number])) for number in range(5)]
    await asyncio.sleep(0)
    device.gate.set()

    assert await first == expected([1, 2])
    assert await asyncio.gather(*others) == [expected([number]) for number in range(5)]
    assert [len(batch) for batch in device.batches] == [1, 5]
    assert len(device.threads) == 1
    assert threading.current_thread().name not in device.threads
    encoder.close()


async def test_time_before_the_device_is_free_counts_as_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(Device):
        def encode(self, tokens: TokenBatch) -> Vectors:
            vectors = super().encode(tokens)
            clock["now"] += 60.0
            return vectors

    clock = {"now": 0.0}
    monkeypatch.setattr(
        "embedder.inference.local.time", SimpleNamespace(monotonic=lambda: clock["now"])
    )
    device, thread = Slow(), device_thread()
    one, two = (LocalEncoder(loaded(device), BatchSettings(), thread) for _ in range(2))
    batch = TokenBatch.of([[1]])
    device.block()
    both = [
        asyncio.create_task(encoder.encode(batch, priority=Priority.INTERACTIVE, deadline=NEVER))
        for encoder in (one, two)
    ]
    await asyncio.to_thread(device.entered.wait, LONG_S)
    await settle()
    device.gate.set()
    first, second = await asyncio.gather(*both)

    assert first.inference_s == second.inference_s == 60.0
    assert first.queue_s < 60.0 <= second.queue_s


async def test_encoders_that_share_a_device_compute_one_after_the_other() -> None:
    running, most = 0, 0

    class Counted(Device):
        def encode(self, tokens: TokenBatch) -> object:  # type: ignore[override]
            nonlocal running, most
            running += 1
            most = max(most, running)
            answer = super().encode(tokens)
            running -= 1
            return answer

    thread = device_thread()
    encoders = [LocalEncoder(loaded(Counted()), BatchSettings(), thread) for _ in range(3)]
    answers = await asyncio.gather(
        *(encode(encoder, [number]) for number in range(20) for encoder in encoders)
    )

    assert answers == [expected([number]) for number in range(20) for _ in encoders]
    assert most == 1


async def test_a_batch_too_large_for_the_device_is_split() -> None:
    encoder = local(Device(capacity=3))
    rows = [[number] for number in range(10)]

    assert await encode(encoder, *rows) == expected(*rows)
    encoder.close()


async def test_an_input_on_which_the_model_fails_fails_alone(device: Device) -> None:
    encoder = local(device)
    results = await asyncio.gather(
        encode(encoder, ids(POISON)), encode(encoder, [1]), return_exceptions=True
    )

    assert isinstance(results[0], BackendFailure)
    assert results[1] == expected([1])
    encoder.close()


@pytest.mark.parametrize(
    ("tokens", "items", "lengths"),
    [(64, 1024, [24, 24]), (64, 1, [24]), (10, 1024, [10]), (24, 1024, [24]), (1, 1, [1])],
)
async def test_the_largest_batch_fills_the_budget_with_the_longest_inputs(
    device: Device, tokens: int, items: int, lengths: list[int]
) -> None:
    info = replace(INFO, max_batch_tokens=tokens)
    encoder = local(device, BatchSettings(max_items=items), info)
    await encoder.compute_largest_batch()

    assert [len(row) for row in device.rows] == lengths


async def test_closing_fails_what_runs_and_what_waits(device: Device) -> None:
    encoder = local(device)
    device.block()
    running = asyncio.create_task(encode(encoder, [1]))
    await asyncio.to_thread(device.entered.wait, LONG_S)
    waiting = asyncio.create_task(encode(encoder, [2]))
    await asyncio.sleep(0)
    encoder.close()
    results = await asyncio.gather(running, waiting, return_exceptions=True)
    device.gate.set()

    assert [type(result) for result in results] == [Unavailable, Unavailable]


async def test_a_closed_encoder_accepts_nothing(device: Device) -> None:
    encoder = local(device)
    encoder.close()
    encoder.close()

    with pytest.raises(Unavailable):
        await encode(encoder, [1])


async def test_a_closed_encoder_frees_its_model_without_the_collector() -> None:
    """A pool evicts a model to load another one, and cannot wait for the collector."""
    gc.disable()
    try:
        device = Device()
        encoder = local(device)
        await encode(encoder, [1])
        freed = weakref.ref(device)
        encoder.close()
        del encoder, device
        await settle()

        assert eventually(lambda: freed() is None)
    finally:
        gc.enable()


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is that of a thread only there")
def test_only_the_thread_of_a_low_priority_device_is_nicer() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    with device_thread() as plain, device_thread(low_priority=True) as polite:
        found = plain.submit(niceness).result(), polite.submit(niceness).result()

    assert found == (before, min(before + LOW_PRIORITY_NICENESS, 19))
    assert niceness() == before
