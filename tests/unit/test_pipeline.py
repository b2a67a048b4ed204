"""One request's way through the pipeline: answers, options, and what the caches spare it.

The model is one whose vectors can be checked by eye: the ids of a text are its code points, and
a vector is the ids' sum, their number, the first and the last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from embedder.cache.failopen import FailOpenCache
from embedder.cache.memory import MemoryCache
from embedder.errors import DeadlineExceeded, StageUnavailable
from embedder.pipeline import Pipeline, Stages
from embedder.request import EmbedOptions
from embedder.types import (
    CacheHits,
    Entries,
    Input,
    ModelInfo,
    Priority,
    TokenBatch,
    Tokenized,
    Truncate,
    Vectors,
)

MODEL = ModelInfo(
    name="sums",
    repository="test/sums",
    revision="1",
    digest="0" * 64,
    width=4,
    max_tokens=8,
    vocabulary_size=1000,
    max_batch_tokens=100,
    pooling="mean",
    dtype="float32",
    backend="test",
    device="cpu",
)
RAW = EmbedOptions(normalize=False)


class Model:
    """Tokenizer and encoder in one; remembers what it was asked."""

    def __init__(self) -> None:
        self.tokenized: list[list[Input]] = []
        self.encoded: list[list[list[int]]] = []
        self.priorities: list[Priority] = []
        self.gate: asyncio.Event | None = None

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: float | None
    ) -> Tokenized:
        self.tokenized.append(list(inputs))
        ids = [list(map(ord, item)) if isinstance(item, str) else list(item) for item in inputs]
        cut = {Truncate.END: slice(8), Truncate.START: slice(-8, None), Truncate.NONE: slice(None)}
        rows = [row[cut[truncate]] for row in ids]
        shorter = [len(row) < len(whole) for row, whole in zip(rows, ids, strict=True)]
        return Tokenized(TokenBatch.of(rows), np.array(shorter, np.bool_))

    async def encode(
        self, tokens: TokenBatch, *, priority: Priority, deadline: float | None
    ) -> Vectors:
        rows = [row.tolist() for row in tokens.rows()]
        self.encoded.append(rows)
        self.priorities.append(priority)
        if self.gate is not None:
            await self.gate.wait()
        return np.array([[sum(row), len(row), row[0], row[-1]] for row in rows], np.float32)


class FarCache:
    """A cache elsewhere: what it holds, how often it was asked, and what is wrong with it."""

    def __init__(self) -> None:
        self.store = MemoryCache(2**20)
        self.gets = 0
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        self.gets += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return self.store.get_many(keys, width)

    async def put_many(self, keys: Sequence[bytes], entries: Entries) -> None:
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.store.put_many(keys, entries)


def pipeline(model: Model, far: FarCache | None = None, *, timeout_s: float = 0.01) -> Pipeline:
    """Return a pipeline with an empty near cache."""
    stages = Stages(model, model, MemoryCache(2**20), FailOpenCache(far, timeout_s=timeout_s))
    return Pipeline(MODEL, stages, limits=None)


def expected(*texts: str) -> NDArray[np.float32]:
    """Return what the model makes of texts, worked out from their letters."""
    rows = [list(map(ord, text)) for text in texts]
    return np.array([[sum(row), len(row), row[0], row[-1]] for row in rows], np.float32)


async def settle() -> None:
    """Let everything happen that needs no further event."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_answer_has_a_row_an_input_in_order() -> None:
    model = Model()
    answer = await pipeline(model).embed(["abc", "z", "hello"], RAW)

    assert answer.vectors.dtype == np.float32
    assert answer.vectors.tolist() == expected("abc", "z", "hello").tolist()
    assert answer.token_counts.tolist() == [3, 1, 5]
    assert answer.truncated.tolist() == [False, False, False]
    assert answer.cached == 0


async def test_no_inputs_give_no_rows_and_no_work() -> None:
    model = Model()
    answer = await pipeline(model).embed([])

    assert answer.vectors.shape == (0, 4)
    assert model.tokenized == model.encoded == []


async def test_duplicates_in_a_request_are_computed_once_and_answered_each() -> None:
    model = Model()
    answer = await pipeline(model).embed(["b", "a", "b", "b", "a"], RAW)

    assert answer.vectors.tolist() == expected("b", "a", "b", "b", "a").tolist()
    assert model.encoded == [[[98], [97]]]


async def test_ids_and_texts_may_stand_in_one_request() -> None:
    model = Model()
    answer = await pipeline(model).embed(["ab", [97, 98], [999]], RAW)

    assert answer.vectors.tolist() == [*expected("ab", "ab").tolist(), [999, 1, 999, 999]]


async def test_a_prompt_goes_in_front_of_texts_and_not_of_ids() -> None:
    model = Model()
    answer = await pipeline(model).embed(["b", [98]], EmbedOptions(prompt="a", normalize=False))

    assert answer.vectors.tolist() == expected("ab", "b").tolist()


async def test_another_prompt_is_another_vector() -> None:
    model = Model()
    embedder = pipeline(model)
    await embedder.embed(["b"], EmbedOptions(prompt="x", normalize=False))
    answer = await embedder.embed(["b"], EmbedOptions(prompt="a", normalize=False))

    assert answer.vectors.tolist() == expected("ab").tolist()


@pytest.mark.parametrize(
    ("truncate", "kept"), [(Truncate.END, "abcdefgh"), (Truncate.START, "cdefghij")]
)
async def test_the_end_that_is_cut_is_the_one_asked_for(truncate: Truncate, kept: str) -> None:
    options = EmbedOptions(truncate=truncate, normalize=False)
    answer = await pipeline(Model()).embed(["abcdefghij", "abcdefgh"], options)

    assert answer.vectors.tolist() == expected(kept, "abcdefgh").tolist()
    assert answer.token_counts.tolist() == [8, 8]
    assert answer.truncated.tolist() == [True, False]


async def test_a_cached_answer_is_the_same_to_the_byte() -> None:
    model = Model()
    embedder = pipeline(model)
    texts = ["abc", "abcdefghijk", "abc"]
    first = await embedder.embed(texts)
    again = await embedder.embed(texts)

    assert again.vectors.tobytes() == first.vectors.tobytes()
    assert again.token_counts.tolist() == first.token_counts.tolist() == [3, 8, 3]
    assert again.truncated.tolist() == first.truncated.tolist() == [False, True, False]
    assert (first.cached, again.cached) == (0, 2)
    assert len(model.encoded) == 1


async def test_changing_an_answer_changes_no_later_one() -> None:
    embedder = pipeline(Model())
    first = await embedder.embed(["abc"], RAW)
    first.vectors[:] = -1

    assert (await embedder.embed(["abc"], RAW)).vectors.tolist() == expected("abc").tolist()


async def test_only_what_is_missing_is_computed() -> None:
    model = Model()
    embedder = pipeline(model)
    await embedder.embed(["a", "b"])
    answer = await embedder.embed(["c", "a", "d"], RAW)

    assert model.encoded == [[[97], [98]], [[99], [100]]]
    assert answer.vectors.tolist() == expected("c", "a", "d").tolist()
    assert answer.cached == 1


async def test_every_width_and_length_is_derived_from_one_computation() -> None:
    model = Model()
    embedder = pipeline(model)
    unit = await embedder.embed(["abc"])
    two = await embedder.embed(["abc"], EmbedOptions(dimensions=2))
    raw_two = await embedder.embed(["abc"], EmbedOptions(dimensions=2, normalize=False))

    whole = expected("abc")
    assert len(model.encoded) == 1
    np.testing.assert_allclose(unit.vectors, whole / np.sqrt((whole**2).sum()), rtol=1e-6)
    np.testing.assert_allclose(two.vectors, whole[:, :2] / np.hypot(294, 3), rtol=1e-6)
    assert raw_two.vectors.tolist() == [[294, 3]]


async def test_the_encoder_is_told_whose_work_it_is() -> None:
    model = Model()
    await pipeline(model).embed(["a"], EmbedOptions(priority=Priority.BULK))

    assert model.priorities == [Priority.BULK]


async def test_what_the_far_cache_has_is_not_encoded_and_fills_the_near_one() -> None:
    model, far = Model(), FarCache()
    first = await pipeline(model, far).embed(["abc", "abcdefghijk"])
    await settle()
    neighbour = pipeline(model, far)
    answer = await neighbour.embed(["abc", "abcdefghijk"])
    gets = far.gets
    again = await neighbour.embed(["abc", "abcdefghijk"])

    assert len(model.encoded) == 1
    assert answer.vectors.tobytes() == again.vectors.tobytes() == first.vectors.tobytes()
    assert answer.truncated.tolist() == [False, True]
    assert far.gets == gets
    assert again.cached == 2


async def test_what_the_far_cache_has_needed_no_computing_and_counts_as_cached() -> None:
    model, far = Model(), FarCache()
    await pipeline(model, far).embed(["abc"])
    await settle()

    assert (await pipeline(model, far).embed(["abc"])).cached == 1


async def test_what_the_far_cache_lacks_is_computed_beside_what_it_has() -> None:
    model, far = Model(), FarCache()
    await pipeline(model, far).embed(["b"])
    await settle()
    answer = await pipeline(model, far).embed(["a", "b", "c"], RAW)

    assert model.encoded == [[[98]], [[97], [99]]]
    assert answer.vectors.tolist() == expected("a", "b", "c").tolist()


async def test_a_far_cache_that_fails_is_a_miss() -> None:
    model, far = Model(), FarCache()
    far.error = StageUnavailable("cache", "gone")
    answer = await pipeline(model, far).embed(["a"], RAW)
    await settle()

    assert answer.vectors.tolist() == expected("a").tolist()


async def test_a_far_cache_that_does_not_answer_is_a_miss() -> None:
    model, far = Model(), FarCache()
    far.open.clear()
    answer = await pipeline(model, far).embed(["a"], RAW)

    assert answer.vectors.tolist() == expected("a").tolist()
    far.open.set()
    await settle()


async def test_no_answer_waits_for_an_insert_into_the_far_cache() -> None:
    model, far = Model(), FarCache()
    embedder = pipeline(model, far)
    far.open.clear()
    answer = await embedder.embed(["a"], RAW)
    held_before = far.store.stats.entries
    far.open.set()
    await settle()

    assert answer.vectors.tolist() == expected("a").tolist()
    assert held_before == 0
    assert far.store.stats.entries == 1


async def test_a_request_out_of_time_fails_and_leaves_nothing_in_the_air() -> None:
    model = Model()
    model.gate = asyncio.Event()
    embedder = pipeline(model)
    with pytest.raises(DeadlineExceeded):
        await embedder.embed(["a"], EmbedOptions(timeout_s=0.01))
    await settle()

    assert len(embedder._flights) == 0


async def test_a_request_in_time_is_answered() -> None:
    answer = await pipeline(Model()).embed(["a"], EmbedOptions(timeout_s=5, normalize=False))

    assert answer.vectors.tolist() == expected("a").tolist()
