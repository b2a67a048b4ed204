"""The batching stages: several callers share a batch, and each gets its own rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.batching.stages import BatchingEncoder, BatchingTokenizer
from embedder.core.deadline import NEVER, Deadline
from embedder.core.entries.blobs import stacked
from embedder.core.errors import DeadlineExceeded
from embedder.core.outputs import OutputKind
from embedder.core.types import (
    Encoded,
    Input,
    Priority,
    TokenBatch,
    Tokenized,
    Truncate,
)

ROOMY = Budget(max_tokens=10_000)


class FakeEncoder:
    """Returns for each input the sum and the number of its tokens.

    A batch takes one second per token on its clock, and reports half of that as its wait.
    """

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.now_s = 100.0

    def clock(self) -> float:
        return self.now_s

    async def run(self, tokens: TokenBatch, context: BatchContext) -> Encoded:
        rows = [row.tolist() for row in tokens.rows()]
        self.batches.append(rows)
        seconds = len(tokens.ids)
        self.now_s += seconds
        vectors = np.array([[sum(row), len(row)] for row in rows], np.float32)
        return Encoded(vectors, queue_s=seconds / 2, inference_s=seconds)


class FakeTokenizer:
    """Ids are code points; inputs are truncated to three."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[Input], Truncate]] = []

    async def run(
        self, inputs: Sequence[Input], truncate: Truncate, context: BatchContext
    ) -> Tokenized:
        self.batches.append((list(inputs), truncate))
        ids = [[ord(letter) for letter in str(text)] for text in inputs]
        cut = [len(row) > 3 for row in ids]
        return Tokenized(TokenBatch.of([row[:3] for row in ids]), np.array(cut, np.bool_))


async def test_callers_of_an_encoder_share_a_batch() -> None:
    device = FakeEncoder()
    encoder = BatchingEncoder(device.run, budget=ROOMY)
    one, two = await asyncio.gather(
        encoder.encode(TokenBatch.of([[1, 2], [5]]), priority=Priority.INTERACTIVE, deadline=NEVER),
        encoder.encode(TokenBatch.of([[7, 7, 7]]), priority=Priority.BULK, deadline=NEVER),
    )

    assert device.batches == [[[1, 2], [5], [7, 7, 7]]]
    assert one.vectors.dtype == two.vectors.dtype == np.float32
    assert one.vectors.tolist() == [[3, 2], [5, 1]]
    assert two.vectors.tolist() == [[21, 3]]


async def test_a_batch_computes_only_what_all_of_its_inputs_ask_for() -> None:
    asked: list[tuple[tuple[OutputKind, ...], int]] = []

    async def run(tokens: TokenBatch, context: BatchContext) -> Encoded:
        asked.append((tokens.kinds, len(tokens)))
        rows = [bytes(row.tolist()) for row in tokens.rows()]
        dense = np.array([[len(row)] for row in rows], np.float32)
        found = {OutputKind.DENSE: dense, OutputKind.SPARSE: stacked(rows)}
        first, *others = [found[kind] for kind in tokens.kinds or (OutputKind.DENSE,)]
        return Encoded(first, 0.0, 0.0, others=tuple(others))

    encoder = BatchingEncoder(run, budget=ROOMY)
    batches = [
        TokenBatch.of([[1, 2], [5]]),
        TokenBatch.of([[7, 7, 7]], (OutputKind.SPARSE,)),
        TokenBatch.of([[3]], (OutputKind.DENSE, OutputKind.SPARSE)),
        TokenBatch.of([[4]]),
    ]
    dense, sparse, both, more = await asyncio.gather(
        *(encoder.encode(batch, priority=Priority.INTERACTIVE, deadline=NEVER) for batch in batches)
    )

    kinds = OutputKind.DENSE, OutputKind.SPARSE
    assert asked == [((), 3), ((OutputKind.SPARSE,), 1), (kinds, 1)]
    assert (dense.vectors.tolist(), dense.others) == ([[2], [1]], ())
    assert (sparse.vectors.tolist(), sparse.others) == ([b"\7\7\7"], ())
    assert both.vectors.tolist() == [[1]]
    assert [rows.tolist() for rows in both.others] == [[b"\3"]]
    assert more.vectors.tolist() == [[1]]


async def test_a_kind_of_result_has_a_limit_of_its_own() -> None:
    device = FakeEncoder()

    def most_tokens(kinds: tuple[OutputKind, ...]) -> int:
        return 3 if OutputKind.TOKENS in kinds else 100

    encoder = BatchingEncoder(device.run, budget=Budget(max_tokens=6), most_tokens=most_tokens)
    rows = [[1] * 2, [2] * 1, [3] * 5, [4] * 1]
    for kinds in ((), (OutputKind.TOKENS,)):
        batch = TokenBatch.of(rows, kinds)
        await encoder.encode(batch, priority=Priority.INTERACTIVE, deadline=NEVER)

    sizes = [[len(row) for row in batch] for batch in device.batches]
    assert sizes == [[2, 1, 1], [5], [2, 1], [5], [1]]


async def test_an_encoder_restores_the_order_of_inputs_across_batches() -> None:
    device = FakeEncoder()
    encoder = BatchingEncoder(device.run, budget=Budget(max_tokens=4))
    rows = [[9] * 4, [1], [2, 2, 2], [3]]
    encoded = await encoder.encode(
        TokenBatch.of(rows), priority=Priority.INTERACTIVE, deadline=NEVER
    )

    assert len(device.batches) > 1
    assert encoded.vectors.tolist() == [[36, 4], [1, 1], [6, 3], [3, 1]]


async def test_an_encoder_reports_the_longest_wait_and_the_longest_batch() -> None:
    device = FakeEncoder()
    encoder = BatchingEncoder(device.run, budget=Budget(max_tokens=4), clock=device.clock)
    rows = [[9] * 4, [1] * 2, [2] * 3]
    every, last = await asyncio.gather(
        encoder.encode(TokenBatch.of(rows), priority=Priority.INTERACTIVE, deadline=NEVER),
        encoder.encode(TokenBatch.of([[3] * 4]), priority=Priority.INTERACTIVE, deadline=NEVER),
    )

    assert [sum(map(len, batch)) for batch in device.batches] == [4, 2, 3, 4]
    # The third batch started after 4 + 2 s and reports 1.5 s; the fourth after 9 s and reports 2 s.
    assert (every.queue_s, every.inference_s) == (7.5, 4)
    assert (last.queue_s, last.inference_s) == (11, 4)


async def test_an_encoder_never_computes_an_input_past_its_deadline() -> None:
    device = FakeEncoder()
    encoder = BatchingEncoder(device.run, budget=ROOMY)
    with pytest.raises(DeadlineExceeded):
        await encoder.encode(TokenBatch.of([[1]]), priority=Priority.BULK, deadline=Deadline(0.0))

    assert device.batches == []


async def test_callers_of_a_tokenizer_share_a_batch() -> None:
    worker = FakeTokenizer()
    tokenizer = BatchingTokenizer(worker.run, budget=ROOMY)
    one, two = await asyncio.gather(
        tokenizer.tokenize(["ab", "abcd"], truncate=Truncate.END, deadline=NEVER),
        tokenizer.tokenize(["c"], truncate=Truncate.END, deadline=NEVER),
    )

    assert worker.batches == [(["ab", "abcd", "c"], Truncate.END)]
    assert [row.tolist() for row in one.tokens.rows()] == [[97, 98], [97, 98, 99]]
    assert one.truncated.tolist() == [False, True]
    assert [row.tolist() for row in two.tokens.rows()] == [[99]]
    assert two.truncated.tolist() == [False]


async def test_a_tokenizer_batch_has_one_truncation_mode() -> None:
    worker = FakeTokenizer()
    tokenizer = BatchingTokenizer(worker.run, budget=ROOMY)
    await asyncio.gather(
        *(tokenizer.tokenize(["x"], truncate=way, deadline=NEVER) for way in Truncate)
    )

    assert sorted(worker.batches) == sorted((["x"], way) for way in Truncate)


async def test_the_budget_of_a_tokenizer_counts_characters() -> None:
    worker = FakeTokenizer()
    tokenizer = BatchingTokenizer(worker.run, budget=Budget(max_tokens=5))
    await tokenizer.tokenize(["abc", "de", "fgh"], truncate=Truncate.NONE, deadline=NEVER)

    assert [inputs for inputs, _ in worker.batches] == [["abc", "de"], ["fgh"]]
