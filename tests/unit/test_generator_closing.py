"""Closing a generator: its threads, its memory, waiting calls and later calls."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from embedder import EmbeddingGenerator
from embedder.core.errors import EmbedderError, ModelDrift, Unavailable
from embedder.loop_thread import LoopThread
from tests.unit.fake_device import Device, make_generator, vectors_of, word
from tests.unit.waiting import LONG_S, eventually

WORDS = [word(number) for number in range(100)]
Make = Callable[[Device], EmbeddingGenerator]

CALLS: dict[str, Callable[[EmbeddingGenerator], object]] = {
    "embed": lambda generator: generator.embed("abc"),
    "embed without inputs": lambda generator: generator.embed([]),
    "embed with progress": lambda generator: generator.embed(["abc"], show_progress=True),
    "embed_query": lambda generator: generator.embed_query("abc"),
    "embed_document": lambda generator: generator.embed_document("abc"),
    "aembed": lambda generator: asyncio.run(generator.aembed("abc")),
    "embed_stream": lambda generator: list(generator.embed_stream(["abc"])),
    "similarity": lambda generator: generator.similarity("abc", "abc"),
    "warm_up": lambda generator: generator.warm_up(),
}
WAITING = {name: call for name, call in CALLS.items() if name != "embed without inputs"}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Return a function that makes generators, which are closed at the end."""
    made: list[weakref.ref[EmbeddingGenerator]] = []

    def make_one(device: Device) -> EmbeddingGenerator:
        generator = make_generator(monkeypatch, tmp_path, device)
        made.append(weakref.ref(generator))
        return generator

    yield make_one
    for reference in made:
        if (generator := reference()) is not None:
            generator.close()


def outcome(call: Callable[[EmbeddingGenerator], object], generator: EmbeddingGenerator) -> object:
    """Return the result or the error of a call."""
    try:
        return call(generator)
    except EmbedderError as error:
        return error


def test_closing_ends_the_threads_and_may_be_repeated(make: Make, device: Device) -> None:
    before = set(threading.enumerate())
    with make(device) as generator:
        generator.embed(WORDS)
        during = {thread.name for thread in set(threading.enumerate()) - before}
        generator.close()
    generator.close()

    assert {"embedder", *device.threads} <= during
    assert eventually(lambda: set(threading.enumerate()) <= before)


def test_several_threads_may_close_at_once(make: Make, device: Device) -> None:
    before = set(threading.enumerate())
    generator = make(device)
    generator.embed("abc")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: generator.close(), range(4)))

    assert eventually(lambda: set(threading.enumerate()) <= before)


def test_a_second_close_waits_until_the_first_has_ended_all_calls() -> None:
    loop = LoopThread("generator")
    started, ending, go = threading.Event(), threading.Event(), threading.Event()

    async def slow_to_end() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            assert go.wait(LONG_S)

    loop.submit(slow_to_end())
    assert started.wait(LONG_S)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(loop.close, lambda: None)
        assert ending.wait(LONG_S)
        threading.Timer(0.1, go.set).start()  # a close that does not wait returns before
        loop.close(lambda: None)

        assert go.is_set()
        assert not loop._thread.is_alive()
        first.result(LONG_S)


def test_a_close_after_an_interrupted_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = LoopThread("generator")
    with monkeypatch.context() as patch:
        patch.setattr(loop._thread, "join", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            loop.close(lambda: None)

    loop.close(lambda: None)

    assert not loop._thread.is_alive()


def test_an_error_of_the_stages_is_raised_and_the_thread_ends() -> None:
    loop = LoopThread("generator")
    with pytest.raises(ZeroDivisionError):
        loop.close(Mock(side_effect=ZeroDivisionError))

    assert not loop._thread.is_alive()


def test_an_error_in_the_with_block_closes_and_is_raised(make: Make, device: Device) -> None:
    with pytest.raises(ZeroDivisionError), make(device) as generator:
        raise ZeroDivisionError

    with pytest.raises(Unavailable):
        generator.embed("abc")


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_closed_generator_refuses_work(
    make: Make, device: Device, call: Callable[[EmbeddingGenerator], object]
) -> None:
    generator = make(device)
    generator.close()

    with pytest.raises(Unavailable, match="the generator is closed"):
        call(generator)
    assert device.batches == []


def test_a_closed_generator_still_has_statistics(make: Make, device: Device) -> None:
    with make(device) as generator:
        generator.embed(WORDS)

    assert generator.stats().batching.items == len(WORDS)


@pytest.mark.parametrize("call", WAITING.values(), ids=WAITING.keys())
def test_closing_fails_calls_that_wait_for_the_device(
    make: Make, device: Device, call: Callable[[EmbeddingGenerator], object]
) -> None:
    generator = make(device)
    device.block()
    with ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(outcome, call, generator) for _ in range(3)]
        assert device.entered.wait(LONG_S)
        generator.close()
        types = [type(answer.result(LONG_S)) for answer in answers]

    assert types == [Unavailable] * 3


def test_closing_fails_calls_that_wait_for_the_tokenizer(
    make: Make, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = make(device)
    entered, go = threading.Event(), threading.Event()

    def blocked(*_: object, **__: object) -> None:
        entered.set()
        assert go.wait(LONG_S)

    monkeypatch.setattr("embedder.inference.tokenization.FastTokenizer.encode", blocked)
    with ThreadPoolExecutor(2) as threads:
        answer = threads.submit(outcome, CALLS["embed"], generator)
        assert entered.wait(LONG_S)
        closing = threads.submit(generator.close)
        kind = type(answer.result(LONG_S))
        go.set()
        closing.result(LONG_S)

    assert kind is Unavailable


def test_a_batch_that_ends_after_closing_causes_no_error(
    make: Make, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(threading.enumerate())
    generator = make(device)
    device.block()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(outcome, CALLS["embed"], generator)
        assert device.entered.wait(LONG_S)
        generator.close()
        assert isinstance(answer.result(LONG_S), Unavailable)
    device.gate.set()

    assert eventually(lambda: set(threading.enumerate()) <= before)
    assert caplog.records == []


def test_a_deleted_generator_frees_its_model_at_once(make: Make) -> None:
    generator = make(Device())
    generator.embed(WORDS)
    model = weakref.ref(generator._encoder)
    generator.close()
    del generator

    assert eventually(lambda: model() is None)


def test_two_generators_are_independent(make: Make) -> None:
    one, other = Device(), Device()
    first, second = make(one), make(other)
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda made: made.embed(WORDS), (first, second)))
    first.close()

    assert all(np.array_equal(answer, vectors_of(WORDS)) for answer in answers)
    assert len(one.rows) == len(other.rows) == len(WORDS)
    assert np.array_equal(second.embed("abc"), vectors_of(["abc"]))


def test_a_model_that_fails_to_load_leaves_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(threading.enumerate())

    def drifted(_: object) -> None:
        raise ModelDrift("tiny", "text", 0.1, 0.01)

    make_generator(monkeypatch, tmp_path, Device()).close()
    monkeypatch.setattr("embedder.generator.load_model", drifted)
    with pytest.raises(ModelDrift):
        EmbeddingGenerator(str(tmp_path))

    assert eventually(lambda: set(threading.enumerate()) <= before)
