"""Ctrl-C during a call cancels its work, and the generator stays usable."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import count
from types import FrameType

import numpy as np
import pytest

import embedder.generator
from embedder import EmbeddingGenerator
from embedder.pipeline.streaming import AHEAD, CHUNK
from tests.unit.fake_device import Device, settled, vectors_of, word
from tests.unit.waiting import LONG_S, eventually

WAITING = (threading.Condition.wait.__name__, threading.__file__)
"""The function and the file in which a thread waits for a lock."""

WORDS = [word(number) for number in range(2 * CHUNK)]

CALLS: dict[str, Callable[[EmbeddingGenerator], object]] = {
    "embed": lambda generator: generator.embed(WORDS),
    "embed with progress": lambda generator: generator.embed(WORDS, show_progress=True),
    "embed_stream": lambda generator: list(generator.embed_stream(map(word, count()))),
    "similarity": lambda generator: generator.similarity(WORDS, WORDS),
    "warm_up": lambda generator: generator.warm_up(WORDS),
}


@pytest.fixture
def interrupted() -> Iterator[threading.Event]:
    """Let the first SIGINT raise KeyboardInterrupt and set this event, and ignore all others."""
    event = threading.Event()

    def handler(number: int, frame: FrameType | None) -> None:
        if not event.is_set():
            event.set()
            signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, handler)
    yield event
    signal.signal(signal.SIGINT, before)


def waits_in_a_call() -> bool:
    """Return whether the main thread waits for a lock in a call of the generator."""
    frame: FrameType | None = sys._current_frames()[threading.main_thread().ident or 0]
    if frame is None or (frame.f_code.co_name, frame.f_code.co_filename) != WAITING:
        return False
    while frame is not None and frame.f_code.co_filename != embedder.generator.__file__:
        frame = frame.f_back
    return frame is not None


def interrupt_when(event: threading.Event, interrupted: threading.Event) -> threading.Thread:
    """Send SIGINT to the main thread once it waits for its result after an event."""

    def handled() -> bool:
        # Only a real signal wakes a thread that waits for a lock. CPython does not notice a signal
        # that arrives just before the wait begins, so one signal is not always enough.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return interrupted.wait(0.02)

    def interrupt() -> None:
        assert event.wait(LONG_S)
        assert eventually(waits_in_a_call)
        assert eventually(handled)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_ctrl_c_cancels_the_work_and_the_generator_stays_usable(
    generator: EmbeddingGenerator,
    device: Device,
    interrupted: threading.Event,
    call: Callable[[EmbeddingGenerator], object],
) -> None:
    device.block()
    thread = interrupt_when(device.entered, interrupted)
    with pytest.raises(KeyboardInterrupt):
        call(generator)
    thread.join()
    settled(generator)
    device.gate.set()

    assert np.array_equal(generator.embed(["abc"]), vectors_of(["abc"]))
    assert len(device.batches) <= 2, "the running batch, and that of abc"
    assert generator.stats().waiting == 0


def test_ctrl_c_in_one_call_affects_no_other(
    generator: EmbeddingGenerator, device: Device, interrupted: threading.Event
) -> None:
    device.block()
    answers: list[object] = []
    other = threading.Thread(target=lambda: answers.append(generator.embed(WORDS[:20])))
    other.start()
    assert device.entered.wait(LONG_S)
    thread = interrupt_when(device.entered, interrupted)
    with pytest.raises(KeyboardInterrupt):
        generator.embed(WORDS[20:])
    thread.join()
    device.gate.set()
    other.join()

    assert len(answers) == 1
    assert np.array_equal(np.asarray(answers[0]), vectors_of(WORDS[:20]))


def test_ctrl_c_with_progress_cancels_the_chunks_ahead_despite_a_kept_traceback(
    generator: EmbeddingGenerator, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook keeps the last traceback, and thereby every frame in it."""

    def ctrl_c(*_: object) -> None:
        device.block()
        raise KeyboardInterrupt

    monkeypatch.setattr("embedder.progress.Progress.add", ctrl_c)
    submitted: list[Future[object]] = []
    submit = generator._submit

    def recorded(rows: list[str], options: None) -> Future[object]:
        submitted.append(submit(rows, options))  # type: ignore[arg-type]
        return submitted[-1]

    monkeypatch.setattr(generator, "_submit", recorded)
    with pytest.raises(KeyboardInterrupt) as kept:
        generator.embed([word(number) for number in range(9 * CHUNK)], show_progress=True)

    assert kept.value.__traceback__ is not None
    assert len(submitted) == 1 + AHEAD
    assert all(future.done() for future in submitted)
