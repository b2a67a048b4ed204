"""Streams yield the vectors of embed in bounded memory, and do not block other calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice

import numpy as np
import pytest

from embedder import EmbeddingGenerator, EmbedOptions
from embedder.core.errors import BackendFailure, InvalidInput, Unavailable
from embedder.core.types import Input, Vectors
from embedder.pipeline.streaming import AHEAD, CHUNK
from tests.unit.fake_device import POISON, Device, settled, vectors_of, word
from tests.unit.waiting import LONG_S, eventually

WORDS = [word(number) for number in range(3 * CHUNK + 17)]


@pytest.mark.parametrize("total", [0, 1, CHUNK, CHUNK + 1, len(WORDS)])
def test_a_stream_yields_the_rows_of_embed(generator: EmbeddingGenerator, total: int) -> None:
    rows = list(generator.embed_stream(iter(WORDS[:total])))

    assert [row.shape for row in rows] == [(4,)] * total
    assert np.array_equal(np.reshape(rows, (-1, 4)), generator.embed(WORDS[:total]))
    assert np.array_equal(np.reshape(rows, (-1, 4)), vectors_of(WORDS[:total]))


def test_options_apply_to_every_input_of_a_stream(generator: EmbeddingGenerator) -> None:
    options = EmbedOptions(prompt="x ", dimensions=2, normalize=False)
    rows = list(generator.embed_stream(WORDS[:300], options))

    assert np.array_equal(np.array(rows), generator.embed(WORDS[:300], options))


def test_one_text_is_a_stream_of_one(generator: EmbeddingGenerator) -> None:
    assert [row.tolist() for row in generator.embed_stream("abc")] == vectors_of(["abc"]).tolist()


def test_a_stream_may_mix_ids_and_texts(generator: EmbeddingGenerator) -> None:
    inputs: list[Input] = ["abc", [2, 4, 31, 58, 3][:2]]

    assert np.array_equal(list(generator.embed_stream(inputs)), generator.embed(inputs))


def test_an_endless_input_is_read_only_a_few_chunks_ahead(generator: EmbeddingGenerator) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        for number in count():
            read += 1
            yield word(number)

    stream = generator.embed_stream(endless())
    rows = list(islice(stream, 1000))
    read_by_then = read
    stream.close()  # type: ignore[attr-defined]

    assert np.array_equal(rows, vectors_of([word(number) for number in range(1000)]))
    assert read_by_then <= 1000 + (1 + AHEAD) * CHUNK
    assert read == read_by_then


def test_a_row_is_not_a_view_of_its_chunk(generator: EmbeddingGenerator) -> None:
    row = next(iter(generator.embed_stream(WORDS[:300])))

    assert row.base is None


def test_an_error_is_raised_after_the_chunks_before_it(
    generator: EmbeddingGenerator, device: Device
) -> None:
    inputs = [*WORDS[: 2 * CHUNK + 5], POISON, *WORDS]
    rows: list[Vectors] = []
    with pytest.raises(BackendFailure):
        rows.extend(generator.embed_stream(inputs))

    assert np.array_equal(rows, vectors_of(WORDS[: 2 * CHUNK]))
    assert eventually(lambda: generator.stats().waiting == 0)
    assert np.array_equal(generator.embed(["abc"]), vectors_of(["abc"]))


def test_an_invalid_input_is_named_by_its_number_in_the_stream(
    generator: EmbeddingGenerator,
) -> None:
    inputs = [*WORDS[: CHUNK + 3], ""]
    with pytest.raises(InvalidInput, match=rf"'input\[{CHUNK + 3}\]' must not be empty"):
        list(generator.embed_stream(inputs))


def test_an_error_of_the_inputs_is_raised_after_the_inputs_before_it(
    generator: EmbeddingGenerator,
) -> None:
    fault = OSError("the disk has gone")

    def failing() -> Iterator[str]:
        yield from WORDS[: CHUNK + 3]
        raise fault

    rows: list[Vectors] = []
    with pytest.raises(OSError, match="the disk has gone") as caught:
        rows.extend(generator.embed_stream(failing()))

    assert caught.value is fault
    assert np.array_equal(rows, vectors_of(WORDS[: CHUNK + 3]))


def test_closing_a_stream_cancels_inputs_that_are_not_computed(
    generator: EmbeddingGenerator, device: Device
) -> None:
    def blocking_after_the_first_chunk() -> Iterator[str]:
        yield from WORDS[:CHUNK]
        assert eventually(lambda: len(device.rows) == CHUNK)
        device.block()
        yield from WORDS[CHUNK:]

    stream = generator.embed_stream(blocking_after_the_first_chunk())
    first = next(stream)
    assert eventually(lambda: generator.stats().waiting > 2 * CHUNK)
    assert device.entered.wait(LONG_S)
    batches = len(device.batches)
    stream.close()  # type: ignore[attr-defined]
    settled(generator)
    device.gate.set()

    assert np.array_equal(first, vectors_of(WORDS[:1])[0])
    assert np.array_equal(generator.embed(["abc"]), vectors_of(["abc"]))
    assert len(device.batches) == batches + 2, "the running batch, and that of abc"


def test_a_paused_stream_does_not_block_other_calls(
    generator: EmbeddingGenerator, device: Device
) -> None:
    paused = generator.embed_stream(map(word, count()))
    next(paused)

    assert np.array_equal(generator.embed(WORDS[:50]), vectors_of(WORDS[:50]))
    other = generator.embed_stream(WORDS)
    assert np.array_equal(list(other), vectors_of(WORDS))
    assert np.array_equal(next(paused), vectors_of([word(1)])[0])
    paused.close()  # type: ignore[attr-defined]


def test_several_threads_can_each_read_a_stream(generator: EmbeddingGenerator) -> None:
    parts = [[word(10_000 * part + number) for number in range(600)] for part in range(6)]
    barrier = threading.Barrier(len(parts))

    def read(texts: list[str]) -> bool:
        barrier.wait(LONG_S)
        return np.array_equal(list(generator.embed_stream(iter(texts))), vectors_of(texts))

    with ThreadPoolExecutor(len(parts)) as threads:
        assert list(threads.map(read, parts)) == [True] * 6


def test_closing_the_generator_fails_its_streams(
    generator: EmbeddingGenerator, device: Device
) -> None:
    stream = generator.embed_stream(map(word, count()))
    next(stream)
    generator.close()

    with pytest.raises(Unavailable):
        list(stream)
    with pytest.raises(Unavailable):
        next(generator.embed_stream(["abc"]))
