"""The gathering stages: one batch for several callers, and to each its own rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from embedder.batching.packing import Budget
from embedder.batching.stages import GatheringEncoder, GatheringTokenizer
from embedder.batching.waiting import Terms
from embedder.errors import DeadlineExceeded
from embedder.types import Input, Priority, TokenBatch, Tokenized, Truncate, Vectors

ROOMY = Budget(max_tokens=10_000)


class Encoder:
    """Vectors that tell their tokens: their sum and their number."""

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []

    async def run(self, tokens: TokenBatch, terms: Terms) -> Vectors:
        rows = [row.tolist() for row in tokens.rows()]
        self.batches.append(rows)
        return np.array([[sum(row), len(row)] for row in rows], np.float32)


class Tokenizer:
    """Ids are code points; what is longer than three is cut."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[Input], Truncate]] = []

    async def run(self, inputs: Sequence[Input], truncate: Truncate, terms: Terms) -> Tokenized:
        self.batches.append((list(inputs), truncate))
        ids = [[ord(letter) for letter in str(text)] for text in inputs]
        cut = [len(row) > 3 for row in ids]
        return Tokenized(TokenBatch.of([row[:3] for row in ids]), np.array(cut, np.bool_))


async def test_an_encoder_gathers_across_callers_and_gives_each_its_rows() -> None:
    device = Encoder()
    encoder = GatheringEncoder(device.run, budget=ROOMY)
    one, two = await asyncio.gather(
        encoder.encode(TokenBatch.of([[1, 2], [5]]), priority=Priority.INTERACTIVE, deadline=None),
        encoder.encode(TokenBatch.of([[7, 7, 7]]), priority=Priority.BULK, deadline=None),
    )

    assert device.batches == [[[1, 2], [5], [7, 7, 7]]]
    assert one.dtype == two.dtype == np.float32
    assert one.tolist() == [[3, 2], [5, 1]]
    assert two.tolist() == [[21, 3]]


async def test_an_encoder_restores_the_order_of_rows_that_left_in_several_batches() -> None:
    device = Encoder()
    encoder = GatheringEncoder(device.run, budget=Budget(max_tokens=4))
    rows = [[9] * 4, [1], [2, 2, 2], [3]]
    vectors = await encoder.encode(
        TokenBatch.of(rows), priority=Priority.INTERACTIVE, deadline=None
    )

    assert len(device.batches) > 1
    assert vectors.tolist() == [[36, 4], [1, 1], [6, 3], [3, 1]]


async def test_an_encoder_never_starts_what_is_already_too_late() -> None:
    device = Encoder()
    encoder = GatheringEncoder(device.run, budget=ROOMY)
    with pytest.raises(DeadlineExceeded):
        await encoder.encode(TokenBatch.of([[1]]), priority=Priority.BULK, deadline=0.0)

    assert device.batches == []


async def test_a_tokenizer_gathers_across_callers_and_gives_each_its_rows() -> None:
    worker = Tokenizer()
    tokenizer = GatheringTokenizer(worker.run, budget=ROOMY)
    one, two = await asyncio.gather(
        tokenizer.tokenize(["ab", "abcd"], truncate=Truncate.END, deadline=None),
        tokenizer.tokenize(["c"], truncate=Truncate.END, deadline=None),
    )

    assert worker.batches == [(["ab", "abcd", "c"], Truncate.END)]
    assert [row.tolist() for row in one.tokens.rows()] == [[97, 98], [97, 98, 99]]
    assert one.truncated.tolist() == [False, True]
    assert [row.tolist() for row in two.tokens.rows()] == [[99]]
    assert two.truncated.tolist() == [False]


async def test_a_tokenizer_never_mixes_ways_of_truncating() -> None:
    worker = Tokenizer()
    tokenizer = GatheringTokenizer(worker.run, budget=ROOMY)
    await asyncio.gather(
        *(tokenizer.tokenize(["x"], truncate=way, deadline=None) for way in Truncate)
    )

    assert sorted(worker.batches) == sorted((["x"], way) for way in Truncate)


async def test_a_tokenizers_budget_counts_characters() -> None:
    worker = Tokenizer()
    tokenizer = GatheringTokenizer(worker.run, budget=Budget(max_tokens=5))
    await tokenizer.tokenize(["abc", "de", "fgh"], truncate=Truncate.NONE, deadline=None)

    assert [inputs for inputs, _ in worker.batches] == [["abc", "de"], ["fgh"]]
