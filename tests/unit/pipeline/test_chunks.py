"""A large batch encoded in chunks: the same vectors, and reported progress."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import BackendFailure
from embedder.core.outputs import OutputKind
from embedder.core.pairs import ChunkTokens
from embedder.core.types import Encoded, Priority, TokenBatch
from embedder.pipeline.admission_control import AdmissionControl, AdmittedTokens
from embedder.pipeline.chunks import encode_in_chunks, split
from tests.unit.fake_model import settle


class Encoder:
    """Answers each call when the test releases it; a vector is the sum and count of its ids."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[list[int]], Priority]] = []
        self.gates: list[asyncio.Future[None]] = []
        self.cancelled = 0

    async def encode(
        self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
    ) -> Encoded:
        rows = [row.tolist() for row in tokens.rows()]
        number = len(self.calls)
        self.calls.append((rows, priority))
        self.gates.append(asyncio.get_running_loop().create_future())
        try:
            await self.gates[-1]
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        vectors = np.array([[sum(row), len(row)] for row in rows], np.float32)
        return Encoded(vectors, queue_s=float(number), inference_s=10.0 - number)


BATCH = TokenBatch.of([[1] * 3, [2] * 3, [3] * 2, [4] * 9, [5]])


def start(encoder: Encoder, work: AdmittedTokens) -> asyncio.Task[Encoded]:
    """Start to encode the batch in chunks of four tokens."""
    return asyncio.create_task(encode_in_chunks(encoder, BATCH, work, max_tokens=4, deadline=NEVER))


async def test_chunks_are_joined_in_order_with_the_longest_times() -> None:
    encoder, admission = Encoder(), AdmissionControl()
    work = admission.admit([b"a"], 18, Priority.BULK)
    call = start(encoder, work)
    await settle()
    queued = [admission.stats.queued_tokens[Priority.BULK]]
    for gate in reversed(encoder.gates):
        gate.set_result(None)
        await settle()
        queued.append(admission.stats.queued_tokens[Priority.BULK])
    encoded = await call

    assert [[len(row) for row in rows] for rows, _ in encoder.calls] == [[3], [3, 2], [9, 1]]
    assert {priority for _, priority in encoder.calls} == {Priority.BULK}
    assert encoded.vectors.tolist() == [[3, 3], [6, 3], [6, 2], [36, 9], [5, 1]]
    assert (encoded.queue_s, encoded.inference_s) == (2.0, 10.0)
    assert queued == [18, 8, 3, 0]


async def test_an_error_of_one_chunk_cancels_the_others() -> None:
    encoder = Encoder()
    call = start(encoder, AdmissionControl().admit([b"a"], 18, Priority.BULK))
    await settle()
    encoder.gates[1].set_exception(BackendFailure("poison"))

    with pytest.raises(BackendFailure):
        await call
    await settle()
    assert encoder.cancelled == 2


async def test_a_cancelled_caller_cancels_all_chunks() -> None:
    encoder = Encoder()
    call = start(encoder, AdmissionControl().admit([b"a"], 18, Priority.BULK))
    await settle()
    call.cancel()
    await settle()

    assert call.cancelled()
    assert encoder.cancelled == 3


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 100))
def test_chunks_hold_all_rows_in_order_within_the_token_limit(
    lengths: list[int], max_tokens: int
) -> None:
    rows = [[number] * length for number, length in enumerate(lengths)]
    parts = split(TokenBatch.of(rows), max_tokens)

    assert [row.tolist() for part in parts for row in part.rows()] == rows
    for part in parts:
        assert int(part.lengths[1:].sum()) <= max_tokens
        assert len(part) > 0 or not rows


def test_the_tokens_of_chunks_stay_with_their_input() -> None:
    rows = [
        ChunkTokens(np.full(length, length, np.int32), np.array([[0, length]], np.int32))
        for length in (3, 3, 2, 9, 1)
    ]
    parts = split(TokenBatch.of(rows, (OutputKind.CHUNKS,)), 4)
    spans = [[own.tolist() for own in part.spans or ()] for part in parts]

    assert spans == [[[[0, 3]]], [[[0, 3]], [[0, 2]]], [[[0, 9]], [[0, 1]]]]
    assert [part.lengths.tolist() for part in parts] == [[3], [3, 2], [9, 1]]
    assert {part.kinds for part in parts} == {(OutputKind.CHUNKS,)}
