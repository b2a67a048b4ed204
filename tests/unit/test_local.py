"""The stages in this process: real tokenizer and model, and a device whose faults are chosen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from embedder.config import BackendSettings, BatchSettings, EmbedderSettings, ModelSettings
from embedder.errors import OutOfMemory, Unavailable
from embedder.local import LocalEncoder, LocalTokenizer
from embedder.types import Priority, TokenBatch, Truncate, Vectors
from tests.unit.fake_model import MODEL

REAL = EmbedderSettings(
    model=ModelSettings(offline=True),
    backend=BackendSettings(dtype="float32"),
    batching=BatchSettings(max_tokens=77, max_items=5, bulk_delay_s=3.0),
)


class Device:
    """A backend that adds up ids, on the test's command and in whatever thread it is called."""

    name = "test"
    device = "cpu"
    dtype = "float32"
    width = 1
    padded = True
    max_batch_tokens = 1

    def __init__(self, *, capacity: int = 1000) -> None:
        self.capacity = capacity
        self.threads: set[str] = set()
        self.batches: list[int] = []
        self.entered = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def encode(self, tokens: TokenBatch) -> Vectors:
        self.threads.add(threading.current_thread().name)
        self.batches.append(len(tokens))
        self.entered.set()
        assert self.go.wait(5)
        if len(tokens) > self.capacity:
            raise OutOfMemory("full")
        return np.array([[row.sum()] for row in tokens.rows()], np.float32)


async def encode(encoder: LocalEncoder, *rows: list[int]) -> list[list[float]]:
    """Encode rows of ids as an interactive caller would."""
    vectors = await encoder.encode(
        TokenBatch.of(rows), priority=Priority.INTERACTIVE, deadline=None
    )
    answer: list[list[float]] = vectors.tolist()
    return answer


@pytest.fixture(scope="module")
def real() -> Iterator[LocalEncoder]:
    encoder = LocalEncoder.load(REAL)
    yield encoder
    encoder.close()


def test_a_loaded_encoder_describes_its_model(real: LocalEncoder) -> None:
    assert real.model.name == "all-MiniLM-L6-v2"
    assert (real.model.width, real.model.max_tokens) == (384, 256)
    assert real.model.vocabulary_size == 30522
    assert (real.model.pooling, real.model.dtype) == ("mean", "float32")
    assert len(real.model.digest) == 64


def test_batches_are_what_the_settings_ask_for(real: LocalEncoder) -> None:
    budget = real.batcher.budget

    assert (budget.max_tokens, budget.max_items, budget.bulk_delay_s) == (77, 5, 3.0)
    assert real.model.max_batch_tokens == 77


async def test_the_tokenizer_adds_the_special_tokens_of_the_model() -> None:
    tokenizer = LocalTokenizer.load(ModelSettings(offline=True))
    answer = await tokenizer.tokenize(
        ["hello world", "hello"], truncate=Truncate.END, deadline=None
    )

    rows = [row.tolist() for row in answer.tokens.rows()]
    assert rows == [[101, 7592, 2088, 102], [101, 7592, 102]]
    assert answer.truncated.tolist() == [False, False]


async def test_the_tokenizer_cuts_to_what_the_settings_allow() -> None:
    tokenizer = LocalTokenizer.load(ModelSettings(offline=True, max_tokens=4))
    answer = await tokenizer.tokenize(["hello " * 50], truncate=Truncate.END, deadline=None)

    assert answer.tokens.rows()[0].tolist() == [101, 7592, 7592, 102]
    assert answer.truncated.tolist() == [True]


async def test_encoding_leaves_the_loop_free_and_keeps_to_one_thread() -> None:
    device = Device()
    encoder = LocalEncoder(device, MODEL, BatchSettings())
    device.go.clear()
    first = asyncio.create_task(encode(encoder, [1, 2]))
    await asyncio.to_thread(device.entered.wait, 5)
    others = [asyncio.create_task(encode(encoder, [number])) for number in range(5)]
    await asyncio.sleep(0)
    device.go.set()

    assert await first == [[3]]
    assert await asyncio.gather(*others) == [[[number]] for number in range(5)]
    assert device.batches == [1, 5]
    assert len(device.threads) == 1
    assert threading.current_thread().name not in device.threads
    encoder.close()


async def test_a_batch_that_is_too_large_for_the_device_is_answered_in_parts() -> None:
    device = Device(capacity=3)
    encoder = LocalEncoder(device, MODEL, BatchSettings())

    assert await encode(encoder, *([number] for number in range(10))) == [
        [number] for number in range(10)
    ]
    encoder.close()


async def test_closing_fails_what_runs_and_what_waits() -> None:
    device = Device()
    encoder = LocalEncoder(device, MODEL, BatchSettings())
    device.go.clear()
    running = asyncio.create_task(encode(encoder, [1]))
    await asyncio.to_thread(device.entered.wait, 5)
    waiting = asyncio.create_task(encode(encoder, [2]))
    await asyncio.sleep(0)
    encoder.close()
    results = await asyncio.gather(running, waiting, return_exceptions=True)
    device.go.set()

    assert [type(result) for result in results] == [Unavailable, Unavailable]
    assert device.batches == [1]


async def test_a_closed_encoder_accepts_nothing() -> None:
    encoder = LocalEncoder(Device(), MODEL, BatchSettings())
    encoder.close()
    encoder.close()

    with pytest.raises(Unavailable):
        await encode(encoder, [1])
